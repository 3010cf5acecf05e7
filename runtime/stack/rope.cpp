/// The angles of the rotary embedding.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/rope.hpp"

#include <cmath>

namespace annulus::stack {

Rope::Rope(std::int64_t head_dim) : frequencies_(static_cast<std::size_t>(head_dim / 2)) {
  const auto pairs = static_cast<double>(frequencies_.size());
  for (std::size_t i = 0; i < frequencies_.size(); ++i) {
    frequencies_[i] = std::pow(theta, -static_cast<double>(i) / pairs);
  }
}

template <class T>
void Rope::angles(std::int64_t pos, T* cosines, T* sines) const {
  for (std::size_t i = 0; i < frequencies_.size(); ++i) {
    const double angle = static_cast<double>(pos) * frequencies_[i];
    cosines[i] = static_cast<T>(std::cos(angle));
    sines[i] = static_cast<T>(std::sin(angle));
  }
}
template void Rope::angles(std::int64_t, float*, float*) const;
template void Rope::angles(std::int64_t, double*, double*) const;

}  // namespace annulus::stack
