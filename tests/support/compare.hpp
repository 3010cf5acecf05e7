/// Errors relative to the largest element, and how large they may be.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "kernels/base/dtype.hpp"

namespace annulus::test {

/// The largest finite magnitude.
inline double largest(std::span<const double> values) {
  double top = 0;
  for (const double x : values) {
    if (std::isfinite(x)) top = std::max(top, std::abs(x));
  }
  return top;
}

/// Largest |got - want| over `scale` (the largest element of the whole tensor; 0: absolute). Infinite for NaN, for an
/// infinity that is not the wanted one, and for sizes that differ.
inline double relative_error(std::span<const double> got, std::span<const double> want, double scale) {
  if (got.size() != want.size()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (got[i] == want[i]) continue;  // also equal infinities
    const double error = std::abs(got[i] - want[i]);
    if (!std::isfinite(error)) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, error);
  }
  return scale > 0 ? worst / scale : worst;
}
inline double relative_error(std::span<const double> got, std::span<const double> want) {
  return relative_error(got, want, largest(want));
}

/// The tolerance of f32: eight roundings of the largest score, at least 1e-5.
inline double f32_tolerance(double max_abs_score) {
  return std::max(1e-5, 8 * static_cast<double>(std::numeric_limits<float>::epsilon()) * max_abs_score);
}

/// How far from the oracle a result may be. `plain_error`: the error of plain_attention_rounded for the same tensor,
/// read for the 16-bit types only, which are not asked to be better than f32. f64 tensors are limited by lse, which is
/// f32.
inline double allowed_error(DType dtype, double max_abs_score, double plain_error) {
  const bool narrow = dtype == DType::bf16 || dtype == DType::f16;
  return std::max(narrow ? 2 * plain_error : 0, f32_tolerance(max_abs_score));
}

}  // namespace annulus::test
