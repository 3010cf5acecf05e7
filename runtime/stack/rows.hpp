/// Rows of activations between their storage type and f32.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/base/dtype.hpp"

namespace annulus::stack {

/// Reads `count` elements of `dtype` from element `first` on.
inline void load(const std::byte* stored, DType dtype, std::int64_t first, std::int64_t count, float* to) {
  with_dtype(dtype, [&](auto type) {
    const auto* from = reinterpret_cast<const decltype(type)*>(stored) + first;
    for (std::int64_t i = 0; i < count; ++i) to[i] = to_float(from[i]);
  });
}

/// Rounds `count` elements to `dtype` and writes them from element `first` on.
inline void store(const float* from, std::byte* stored, DType dtype, std::int64_t first, std::int64_t count) {
  with_dtype(dtype, [&](auto type) {
    auto* to = reinterpret_cast<decltype(type)*>(stored) + first;
    for (std::int64_t i = 0; i < count; ++i) to[i] = from_float<decltype(type)>(from[i]);
  });
}

}  // namespace annulus::stack
