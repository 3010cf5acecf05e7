/// Rotary position embedding with global positions, and its interpolations for contexts longer than the trained one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace annulus::stack {

/// How frequencies f_i = theta^(-i / half), i in [0, half), are stretched by `factor` s:
///   linear  f_i / s                                            (position interpolation, Chen et al. 2023, eq. 4)
///   ntk     theta' = theta * s^(d / (d - 2)), d = 2 half       (YaRN, Peng et al. 2023, definition 1)
///   yarn    (1 - r_i) f_i + r_i f_i / s, and cos and sin times 0.1 ln s + 1   (ibid., definitions 2 and 3); r_i rises
///           from 0 where f_i turns beta_fast times over the trained context to 1 where it turns beta_slow times
///   llama3  (1 - r_i) f_i + r_i f_i / s; r_i falls from 1 where f_i turns low_freq_factor times over the trained context
///           to 0 at high_freq_factor times, linear in the turns (apply_scaling in meta-llama/llama-models)
/// yarn's r_i is linear in i with bounds that are not rounded: so do its authors' code and GPT-OSS ("truncate": false),
/// while the paper's text has it linear in the turns.
enum class RopeScaling : std::uint8_t { none, linear, ntk, yarn, llama3 };

std::string_view name(RopeScaling scaling);
/// Empty for a word that names none.
std::optional<RopeScaling> parse_rope_scaling(std::string_view word);

struct RopeSpec {
  double theta = 10000;
  RopeScaling scaling = RopeScaling::none;
  double factor = 1;             ///< s; 1 changes nothing, whatever the scaling
  std::int64_t original = 0;     ///< positions of the context that the model was trained with: yarn, llama3
  double beta_fast = 32;         ///< yarn
  double beta_slow = 1;
  double low_freq_factor = 1;    ///< llama3
  double high_freq_factor = 4;

  /// Whether the scaling reads `original`.
  bool reads_original() const { return scaling == RopeScaling::yarn || scaling == RopeScaling::llama3; }
  friend bool operator==(const RopeSpec&, const RopeSpec&) = default;
};

/// Throws UsageError for numbers that make no angles. Local.
void check(const RopeSpec& spec);

/// Rotates the pairs (x_i, x_{i + half}), half = head_dim / 2, by pos * f_i (Su et al. 2021, the half-split order of NeoX
/// and Llama); an odd head_dim keeps its last channel. Angles are f64: at position 10^9 they are good to 1e-7 radians,
/// where f32 angles are wrong from 10^5 on.
class Rope {
 public:
  /// `spec` passes check().
  Rope(const RopeSpec& spec, std::int64_t head_dim);

  std::int64_t half() const { return static_cast<std::int64_t>(frequencies_.size()); }
  /// cos and sin of every angle of one position, [half] each, times yarn's temperature.
  template <class T>
  void angles(std::int64_t pos, T* cosines, T* sines) const;

 private:
  std::vector<double> frequencies_;
  double magnitude_ = 1;
};

/// Rotates one head in place. Backward of a rotation is `rotate` with the sines negated.
template <class T>
void rotate(T* head, std::int64_t half, const T* cosines, const T* sines) {
  for (std::int64_t i = 0; i < half; ++i) {
    const T a = head[i];
    const T b = head[i + half];
    head[i] = a * cosines[i] - b * sines[i];
    head[i + half] = a * sines[i] + b * cosines[i];
  }
}

}  // namespace annulus::stack
