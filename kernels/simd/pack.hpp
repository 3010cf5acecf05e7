/// Packing into tile order and back: permutations of the caller's elements, zeros in the padding.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/simd/geometry.hpp"

namespace annulus::kernels::simd {

void pack(const BlockShape& shape, Direction direction, std::int64_t pair, const ConstTensorView& k,
          const ConstTensorView& v, std::byte* packed, Workers& workers);
void unpack_gradient(const TileOps& ops, const BlockShape& shape, const std::byte* gradient, const TensorView& dk,
                     const TensorView& dv);

/// f32 of `count` elements of `dtype`; any count, `target` aligned to 64 bytes.
void widen(const TileOps& ops, DType dtype, const std::byte* source, std::int64_t count, float* target);

/// Up to 12 rows of one head of a tensor.
struct TensorGroup {
  const ConstTensorView& view;
  std::int64_t b;
  std::int64_t head;
  std::int64_t first;  ///< row
  std::int64_t rows;   ///< 1 to 12; the others count as zeros
};
/// The rows in f32, [12][width]; missing rows and columns become zeros.
void widen_group(const TileOps& ops, const TensorGroup& group, std::int64_t width, float* target);

/// True if packed blocks of `dtype` are tiles as they are; else key tiles are widened to f32.
inline bool in_place(const TileOps& ops, DType dtype) { return dtype == DType::f32 || ops.pair == 2; }

/// Rows of q or dout as the micro-kernel broadcasts them: words [depth][12] of neighbouring channels.
void pack_group(const TileOps& ops, const TensorGroup& group, float* packed);
/// The same rows as words along the rows: [12 / pair][width].
void words_of_group(const TileOps& ops, const TensorGroup& group, std::int64_t width, float* words);
/// 32 keys of a panel [depth][32] as words along the keys: [32 / pair][width]. Columns beyond head_dim are left alone.
void rows_of_panel(std::int64_t pair, const float* panel, std::int64_t depth, float* rows, std::int64_t width);

/// Writes head_dim values, times `factor`, to one row and head of a view of any dtype.
void write_row(const TileOps& ops, const float* source, float factor, const TensorView& view, std::int64_t b,
               std::int64_t row, std::int64_t head);

}  // namespace annulus::kernels::simd
