/// Rows between a caller's strided memory and the dense staging that HDF5 transfers, converted on the way.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/base/dtype.hpp"
#include "kernels/base/view.hpp"

namespace annulus {

/// Four dimensions in the order of the file; the one at `row_axis` counts a shard's rows, the last is contiguous in
/// memory. Tensors are [batch, rows, heads, head_dim], row statistics [batch, heads, rows, 1].
template <class Byte>
struct StridedRows {
  Byte* data = nullptr;
  DType dtype = DType::f32;
  int row_axis = 1;
  std::array<std::int64_t, 4> extent{};
  std::array<std::int64_t, 4> stride{};  ///< in elements

  /// Elements of one row of one batch.
  std::int64_t row_elements() const { return extent[row_axis == 1 ? 2 : 1] * extent[3]; }
};

template <class Byte>
StridedRows<Byte> strided_rows(const BasicTensorView<Byte>& view) {
  return {view.data,
          view.dtype,
          1,
          {view.batch, view.rows, view.heads, view.head_dim},
          {view.batch_stride, view.row_stride, view.head_stride, 1}};
}
inline StridedRows<const std::byte> strided_rows(const ConstRowStats& view) {
  return {reinterpret_cast<const std::byte*>(view.data),
          DType::f32,
          2,
          {view.batch, view.heads, view.rows, 1},
          {view.batch_stride, view.head_stride, 1, 1}};
}

/// Some rows of one batch.
struct RowRange {
  std::int64_t batch = 0;
  std::int64_t row = 0;
  std::int64_t rows = 0;
};

/// Staging is dense in the order of the file and holds the rows of `range` in type `staged`.
void unstage(const std::byte* staging, DType staged, RowRange range, const StridedRows<std::byte>& to);
void stage(const StridedRows<const std::byte>& from, RowRange range, std::byte* staging, DType staged);

}  // namespace annulus
