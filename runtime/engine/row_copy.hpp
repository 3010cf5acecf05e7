/// Rows of one tensor into another, whatever their element types and strides.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/base/view.hpp"
#include "runtime/layout/row_set.hpp"

namespace annulus {

/// Rows [first, first + rows) of a view.
template <class Byte>
BasicTensorView<Byte> some_rows(BasicTensorView<Byte> view, std::int64_t first, std::int64_t rows) {
  view.data += first * view.row_stride * static_cast<std::int64_t>(size_of(view.dtype));
  view.rows = rows;
  return view;
}

/// Elements [first, first + count) of every row and head.
template <class Byte>
BasicTensorView<Byte> some_columns(BasicTensorView<Byte> view, std::int64_t first, std::int64_t count) {
  view.data += first * static_cast<std::int64_t>(size_of(view.dtype));
  view.head_dim = count;
  return view;
}

/// One number per row and head, as a tensor of head_dim 1.
template <class Byte, class Float>
BasicTensorView<Byte> as_tensor(const BasicRowStats<Float>& stats) {
  return {reinterpret_cast<Byte*>(stats.data),
          DType::f32,
          stats.batch,
          stats.rows,
          stats.heads,
          1,
          stats.batch_stride,
          1,
          stats.head_stride};
}

/// to = from, converted; of the same shape.
void convert(const ConstTensorView& from, const TensorView& to);

/// Likewise, the rows at `positions` alone: the rows of `from` hold `from_rows`, those of `to` hold `to_rows`.
void convert(const RowSet& positions, const ConstTensorView& from, const RowSet& from_rows, const TensorView& to,
             const RowSet& to_rows);

}  // namespace annulus
