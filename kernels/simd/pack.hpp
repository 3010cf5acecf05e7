/// Packing into tile order and back: permutations of the caller's elements, zeros in the padding.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/simd/geometry.hpp"

namespace annulus::kernels::simd {

void pack(const BlockShape& shape, Direction direction, const ConstTensorView& k, const ConstTensorView& v,
          std::byte* packed, Workers& workers);
void unpack_gradient(const BlockShape& shape, const std::byte* gradient, const TensorView& dk, const TensorView& dv);

/// f32 of `count` elements of `dtype`; any count, `target` aligned to 64 bytes.
void widen(const TileOps& ops, DType dtype, const std::byte* source, std::int64_t count, float* target);

/// Widens up to 12 rows of one head to f32 row-major tiles [12][width]; missing rows and columns become zeros.
void widen_group(const TileOps& ops, const ConstTensorView& view, std::int64_t b, std::int64_t head,
                 std::int64_t first_row, std::int64_t rows, float* target, std::int64_t width);

/// target[column][row] = source[row][column]; both dense but for the strides (in elements).
void transpose(const float* source, std::int64_t source_stride, std::int64_t rows, std::int64_t columns, float* target,
               std::int64_t target_stride);

/// Writes head_dim values, times `factor`, to one row and head of a view of any dtype.
void write_row(const float* source, float factor, const TensorView& view, std::int64_t b, std::int64_t row,
               std::int64_t head);

}  // namespace annulus::kernels::simd
