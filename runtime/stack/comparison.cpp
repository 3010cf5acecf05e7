/// Keeps errors per sampled row and judges them.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/comparison.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/base/error.hpp"

namespace annulus::stack {
namespace {
constexpr std::array<std::string_view, 6> stage_names{"q", "k", "v", "out", "lse", "x"};

/// Distance of two numbers; a NaN is as far as can be, and equal infinities are close.
double distance(double a, double b) {
  if (a == b) return 0;
  const double d = std::abs(a - b);
  return std::isnan(d) ? std::numeric_limits<double>::infinity() : d;
}

double largest_distance(std::span<const double> a, std::span<const double> b) {
  double found = 0;
  for (std::size_t i = 0; i < a.size(); ++i) found = std::max(found, distance(a[i], b[i]));
  return found;
}

double largest_finite(std::span<const double> values) {
  double found = 0;
  for (const double value : values) {
    if (std::isfinite(value)) found = std::max(found, std::abs(value));
  }
  return found;
}
/// Of a 16-bit type: half the distance of 1 and the next number.
double unit_roundoff(DType dtype) { return dtype == DType::bf16 ? 0x1p-8 : 0x1p-11; }
}  // namespace

Comparison::Comparison(std::size_t samples) : samples_(samples), values_((stages * columns + 1) * samples) {}

void Comparison::add(Stage stage, std::size_t sample, const StageRow& row) {
  values_[index(stage, error, sample)] = largest_distance(row.stored, row.expected);
  values_[index(stage, plain_error, sample)] = largest_distance(row.plain, row.expected);
  values_[index(stage, scale, sample)] = largest_finite(row.scale);
  values_[index(stage, weight_rounding, sample)] = row.weight_rounding;
}

void Comparison::add_score(std::size_t sample, double largest_score) {
  double& value = values_[stages * columns * samples_ + sample];
  value = std::max(value, largest_score);
}

double Comparison::largest(Stage stage, Column column) const {
  return largest_finite(std::span(values_).subspan(index(stage, column, 0), samples_));
}

double Comparison::tolerance(Stage stage, DType dtype) const {
  constexpr double eps32 = std::numeric_limits<float>::epsilon();
  const bool scored = stage == Stage::out || stage == Stage::lse;
  const double largest_score = *std::max_element(values_.end() - static_cast<std::ptrdiff_t>(samples_), values_.end());
  const double relative = std::max(1e-5, scored ? 8 * eps32 * largest_score : 0);
  // A logarithm: what it is off is relative to the sum of the weights, also where that is about 1.
  const double floor = relative * std::max(largest(stage, scale), stage == Stage::lse ? 1.0 : 0.0);
  return dtype == DType::f32 ? floor : std::max(floor, 2 * largest(stage, plain_error));
}

double Comparison::tolerance(Stage stage, DType dtype, std::size_t sample) const {
  const double of_all = tolerance(stage, dtype);
  if (dtype == DType::f32) return of_all;
  const double by_score = values_[stages * columns * samples_ + sample];  // rounding s once changes a weight by that factor
  const double by_rounding = unit_roundoff(dtype) * (1 + by_score) * values_[index(stage, weight_rounding, sample)];
  return std::isfinite(by_rounding) ? std::max(of_all, by_rounding) : of_all;
}

LayerErrors Comparison::verdict(std::int64_t layer, DType dtype, std::span<const Sample> samples) const {
  LayerErrors errors;
  for (std::size_t s = 0; s < stages && samples_ > 0; ++s) {
    const auto stage = static_cast<Stage>(s);
    for (std::size_t sample = 0; sample < samples_; ++sample) {
      const double allowed = tolerance(stage, dtype, sample);
      const double found = values_[index(stage, error, sample)];
      if (!(found <= allowed)) {
        throw Error(
            ExitCode::verification,
            fmt::format("layer {}: {} of row {} (batch {}) is {:.3g} off its f64 recomputation, tolerance {:.3g} "
                        "(the results are not to be trusted); try --backend reference or --exchange messages",
                        layer, stage_names[s], samples[sample].pos, samples[sample].batch, found, allowed));
      }
    }
    const double worst = largest(stage, error);
    const double size = largest(stage, scale);
    errors.max_abs_error = std::max(errors.max_abs_error, worst);
    if (size > 0) errors.max_rel_error = std::max(errors.max_rel_error, worst / size);
  }
  return errors;
}

}  // namespace annulus::stack
