/// Tokens become the rows of the first activations.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/base/dtype.hpp"
#include "runtime/stack/rows.hpp"

namespace annulus::stack {

/// Writes the embedding of each token, rounded to `dtype`, to rows [first_row, first_row + tokens) of x [rows, width].
/// `table` is [vocabulary][width]. Local.
inline void embed(const float* table, std::int64_t width, std::span<const std::uint8_t> tokens, std::int64_t first_row,
                  DType dtype, std::byte* x) {
  for (const std::uint8_t token : tokens) store(table + token * width, x, dtype, first_row++ * width, width);
}

}  // namespace annulus::stack
