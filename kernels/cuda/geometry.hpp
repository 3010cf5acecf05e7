/// Sizes and places of what the CUDA row keeps in memory, and moving tensors there and back.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/base/checked.hpp"
#include "kernels/contract/attention.hpp"

namespace annulus::kernels::cuda {

/// head_dim padded to what kernels are written for. Throws UsageError unless it is a multiple of 8 up to 256.
std::int64_t padded_width(std::int64_t head_dim);

/// Rows that the query side has on the device.
std::int64_t padded_query_rows(std::int64_t q_rows);

/// A packed block is [batch][kv_heads]{K, V}[rows][width], its gradient the same in f32. Rows are not padded, they
/// travel.
std::int64_t block_elements(const BlockShape& shape);

std::uint64_t packed_bytes(const BlockShape& shape, Direction direction);
RowArray packed_rows(const BlockShape& shape, Direction direction);
RowArray gradient_rows(const BlockShape& shape);
std::uint64_t pass_bytes(const Problem& problem, Direction direction);
/// Of forward or of backward, whichever takes more.
std::uint64_t device_bytes(const Problem& problem, const BlockShape& largest);

void pack(const BlockShape& shape, Direction direction, const ConstTensorView& k, const ConstTensorView& v,
          std::byte* packed, Workers& workers);
void unpack_gradient(const BlockShape& shape, const std::byte* gradient, const TensorView& dk, const TensorView& dv);

/// Where rows of one (batch, head) stand in a dense array of `dtype`.
struct DenseRows {
  std::byte* data;  ///< row 0
  DType dtype;
  std::int64_t rows;
  std::int64_t width;
};
/// Copies (converts) the rows of one (batch, head); the other columns and rows become zeros.
void gather(const ConstTensorView& view, std::int64_t b, std::int64_t head, const DenseRows& to);
/// Writes f32 rows, `factor` times, to one (batch, head) of a view of any dtype.
void scatter(const float* rows, std::int64_t row_stride, float factor, const TensorView& view, std::int64_t b,
             std::int64_t head);

}  // namespace annulus::kernels::cuda
