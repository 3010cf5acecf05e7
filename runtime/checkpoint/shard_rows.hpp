/// A shard in a caller's strided memory, as lines of rows.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/base/view.hpp"

namespace annulus::checkpoint {

/// A row is `parts` runs of bytes (the heads of a tensor); strides are in bytes. Lines are those of RowSpace: `inner`
/// of them (the heads of row statistics) follow each other at `inner_stride` within a batch.
template <class Byte>
struct ShardRows {
  Byte* data = nullptr;
  std::int64_t inner = 1;
  std::int64_t batch_stride = 0;
  std::int64_t inner_stride = 0;
  std::int64_t row_stride = 0;
  std::int64_t parts = 1;
  std::int64_t part_stride = 0;
  std::int64_t part_bytes = 0;

  Byte* row(std::int64_t line, std::int64_t row) const {
    return data + line / inner * batch_stride + line % inner * inner_stride + row * row_stride;
  }
  /// Rows follow each other without gaps.
  bool dense() const { return row_stride == parts * part_bytes && (parts == 1 || part_stride == part_bytes); }
};

template <class Byte>
ShardRows<Byte> shard_rows(const BasicTensorView<Byte>& view) {
  const auto item = static_cast<std::int64_t>(size_of(view.dtype));
  return {
      view.data,           1, view.batch_stride * item, 0, view.row_stride * item, view.heads, view.head_stride * item,
      view.head_dim * item};
}
template <class Float>
auto shard_rows(const BasicRowStats<Float>& view) {
  using Byte = std::conditional_t<std::is_const_v<Float>, const std::byte, std::byte>;
  constexpr std::int64_t item = sizeof(float);
  return ShardRows<Byte>{reinterpret_cast<Byte*>(view.data),
                         view.heads,
                         view.batch_stride * item,
                         view.head_stride * item,
                         item,
                         1,
                         0,
                         item};
}

/// `rows` rows of a line from `row` on, to or from dense bytes.
void pack(const ShardRows<const std::byte>& from, std::int64_t line, std::int64_t row, std::int64_t rows,
          std::byte* to);
void unpack(const std::byte* from, const ShardRows<std::byte>& to, std::int64_t line, std::int64_t row,
            std::int64_t rows);

}  // namespace annulus::checkpoint
