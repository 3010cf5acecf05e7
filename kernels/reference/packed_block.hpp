/// Where the rows of a packed block and of its gradients stand: per (batch, kv head) the K rows, then the V rows,
/// dense.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/base/checked.hpp"
#include "kernels/contract/attention.hpp"

namespace annulus::kernels::reference {

enum class Part : std::int64_t { k = 0, v = 1 };

/// Elements of a block; its dK/dV array has as many.
inline std::uint64_t block_elements(const BlockShape& shape) {
  return checked_product({2, shape.batch, shape.kv_heads, shape.rows, shape.head_dim});
}

/// First element of one row.
inline std::int64_t row_element(const BlockShape& shape, std::int64_t b, std::int64_t kv_head, Part part,
                                std::int64_t row) {
  const std::int64_t pair = (b * shape.kv_heads + kv_head) * 2 + static_cast<std::int64_t>(part);
  return (pair * shape.rows + row) * shape.head_dim;
}

/// Byte offset of one row in an array of `dtype`.
inline std::int64_t row_offset(const BlockShape& shape, DType dtype, std::int64_t b, std::int64_t kv_head, Part part,
                               std::int64_t row) {
  return row_element(shape, b, kv_head, part, row) * static_cast<std::int64_t>(size_of(dtype));
}

}  // namespace annulus::kernels::reference
