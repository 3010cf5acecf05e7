/// The angles of the rotary embedding.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/rope.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <string>

#include "kernels/base/error.hpp"

namespace annulus::stack {
namespace {
constexpr std::array<std::string_view, 5> names{"none", "linear", "ntk", "yarn", "llama3"};
constexpr double two_pi = 2 * std::numbers::pi;

/// Share of a frequency that is interpolated, in [0, 1]: 0 keeps it, 1 divides it by the factor.
using Share = double;

/// The pair, as a real number, whose frequency turns `turns` times over the trained context.
double pair_of_turns(const RopeSpec& spec, double half, double turns) {
  return half * std::log(static_cast<double>(spec.original) / (turns * two_pi)) / std::log(spec.theta);
}

Share yarn_share(const RopeSpec& spec, double half, double pair) {
  const double low = pair_of_turns(spec, half, spec.beta_fast);
  const double high = pair_of_turns(spec, half, spec.beta_slow);
  return std::clamp((pair - low) / (high - low), 0.0, 1.0);
}

Share llama3_share(const RopeSpec& spec, double frequency) {
  const double turns = static_cast<double>(spec.original) * frequency / two_pi;
  const double kept = (turns - spec.low_freq_factor) / (spec.high_freq_factor - spec.low_freq_factor);
  return 1 - std::clamp(kept, 0.0, 1.0);
}

double scaled(const RopeSpec& spec, double half, double pair) {
  const double frequency = std::pow(spec.theta, -pair / half);
  const auto blend = [&](Share share) { return frequency * (1 - share * (1 - 1 / spec.factor)); };  // exact at factor 1
  switch (spec.scaling) {
    case RopeScaling::none: return frequency;
    case RopeScaling::linear: return frequency / spec.factor;
    // theta'^(-pair / half) without theta', which is infinite for one pair
    case RopeScaling::ntk: return pair == 0 ? 1 : frequency * std::pow(spec.factor, -pair / (half - 1));
    case RopeScaling::yarn: return blend(yarn_share(spec, half, pair));
    case RopeScaling::llama3: return blend(llama3_share(spec, frequency));
  }
  return frequency;
}
}  // namespace

std::string_view name(RopeScaling scaling) { return names[static_cast<std::size_t>(scaling)]; }

std::optional<RopeScaling> parse_rope_scaling(std::string_view word) {
  const auto found = std::find(names.begin(), names.end(), word);
  if (found == names.end()) return std::nullopt;
  return static_cast<RopeScaling>(found - names.begin());
}

void check(const RopeSpec& spec) {
  const auto refuse = [&](const std::string& why) {
    throw UsageError("rotary positions with scaling " + std::string(name(spec.scaling)) + ": " + why);
  };
  if (!(spec.theta > 1) || !std::isfinite(spec.theta)) refuse("theta must be above 1 (slower pairs turn slower); try 10000");
  if (!(spec.factor >= 1) || !std::isfinite(spec.factor)) refuse("the factor must be 1 or more (it stretches); try 8");
  if (spec.scaling == RopeScaling::none && spec.factor != 1) refuse("a factor has nothing to stretch; try linear or yarn");
  if (spec.reads_original() && spec.original < 1) {
    refuse("it needs the context that the model was trained with (it keeps what turns fast in it); try --rope-original 8192");
  }
  if (!(spec.beta_slow > 0 && spec.beta_slow < spec.beta_fast)) refuse("beta_slow must lie in (0, beta_fast); try 1 and 32");
  if (!(spec.low_freq_factor > 0 && spec.low_freq_factor < spec.high_freq_factor)) {
    refuse("low_freq_factor must lie in (0, high_freq_factor); try 1 and 4");
  }
}

Rope::Rope(const RopeSpec& spec, std::int64_t head_dim) : frequencies_(static_cast<std::size_t>(head_dim / 2)) {
  const auto half = static_cast<double>(frequencies_.size());
  for (std::size_t i = 0; i < frequencies_.size(); ++i) frequencies_[i] = scaled(spec, half, static_cast<double>(i));
  if (spec.scaling == RopeScaling::yarn) magnitude_ = 0.1 * std::log(spec.factor) + 1;
}

template <class T>
void Rope::angles(std::int64_t pos, T* cosines, T* sines) const {
  for (std::size_t i = 0; i < frequencies_.size(); ++i) {
    const double angle = static_cast<double>(pos) * frequencies_[i];
    cosines[i] = static_cast<T>(magnitude_ * std::cos(angle));
    sines[i] = static_cast<T>(magnitude_ * std::sin(angle));
  }
}
template void Rope::angles(std::int64_t, float*, float*) const;
template void Rope::angles(std::int64_t, double*, double*) const;

}  // namespace annulus::stack
