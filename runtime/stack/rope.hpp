/// Rotary position embedding with global positions.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

namespace annulus::stack {

/// Rotates the pairs (x_i, x_{i + half}), half = head_dim / 2, by pos * theta^(-2 i / (2 half)) (Su et al. 2021, the
/// half-split order of NeoX and Llama); an odd head_dim keeps its last channel. Angles are f64: at position 10^9 they
/// are good to 1e-7 radians, where f32 angles are wrong from 10^5 on.
class Rope {
 public:
  static constexpr double theta = 10000;

  explicit Rope(std::int64_t head_dim);

  std::int64_t half() const { return static_cast<std::int64_t>(frequencies_.size()); }
  /// cos and sin of every angle of one position, [half] each.
  template <class T>
  void angles(std::int64_t pos, T* cosines, T* sines) const;

 private:
  std::vector<double> frequencies_;
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
