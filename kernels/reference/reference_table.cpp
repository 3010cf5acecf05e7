/// The reference backend's row of the kernel table: packing is a copy, row by row.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/reference/reference_table.hpp"

#include <cstring>
#include <vector>

#include "kernels/reference/key_tile.hpp"
#include "kernels/reference/packed_block.hpp"
#include "kernels/reference/passes.hpp"
#include "kernels/reference/rows.hpp"

namespace annulus::kernels {
namespace reference {

std::uint64_t pass_bytes(const Problem& problem, Direction direction) {
  const std::int64_t per_row = problem.head_dim + (direction == Direction::forward ? 2 : 1);
  return checked_product(
      {problem.batch, problem.heads, problem.q_rows, per_row, static_cast<std::int64_t>(sizeof(double))});
}

namespace {

RowArray row_array(const BlockShape& shape, DType dtype) {
  const auto element = static_cast<std::int64_t>(size_of(dtype));
  const auto row_bytes = static_cast<std::int64_t>(checked_product({shape.head_dim, element}));
  return {static_cast<std::int64_t>(checked_product({shape.batch, shape.kv_heads})), row_bytes, row_bytes};
}
RowArray packed_rows(const BlockShape& shape, Direction) { return row_array(shape, shape.dtype); }
RowArray gradient_rows(const BlockShape& shape) { return row_array(shape, gradient_dtype(shape.dtype)); }

void pack(const BlockShape& shape, Direction, const ConstTensorView& k, const ConstTensorView& v, std::byte* packed,
          Workers& workers) {
  const std::size_t bytes = static_cast<std::size_t>(shape.head_dim) * size_of(shape.dtype);
  workers.for_each(shape.batch * shape.kv_heads, [&](std::int64_t task, int) {
    const std::int64_t b = task / shape.kv_heads;
    const std::int64_t kv_head = task % shape.kv_heads;
    for (std::int64_t row = 0; row < shape.rows; ++row) {
      std::byte* to_k = packed + row_offset(shape, shape.dtype, b, kv_head, Part::k, row);
      std::byte* to_v = packed + row_offset(shape, shape.dtype, b, kv_head, Part::v, row);
      std::memcpy(to_k, row_bytes(k, b, row, kv_head), bytes);
      std::memcpy(to_v, row_bytes(v, b, row, kv_head), bytes);
    }
  });
}

void unpack_gradient(const BlockShape& shape, const std::byte* gradient, const TensorView& dk, const TensorView& dv) {
  const DType dtype = gradient_dtype(shape.dtype);
  std::vector<double> values(static_cast<std::size_t>(shape.head_dim));
  const auto unpack_row = [&](Part part, const TensorView& to, std::int64_t b, std::int64_t row, std::int64_t kv_head) {
    load(dtype, gradient + row_offset(shape, dtype, b, kv_head, part, row), shape.head_dim, values.data());
    store_row(values.data(), to, b, row, kv_head);
  };
  for (std::int64_t b = 0; b < shape.batch; ++b) {
    for (std::int64_t kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
      for (std::int64_t row = 0; row < shape.rows; ++row) {
        unpack_row(Part::k, dk, b, row, kv_head);
        unpack_row(Part::v, dv, b, row, kv_head);
      }
    }
  }
}

}  // namespace
}  // namespace reference

const KernelTable& reference_table() {
  static constexpr KernelTable table{.name = "reference",
                                     .unavailable = {},
                                     .f64 = true,
                                     .packed_rows = reference::packed_rows,
                                     .pack = reference::pack,
                                     .pass_bytes = reference::pass_bytes,
                                     .forward = reference::make_forward,
                                     .backward = reference::make_backward,
                                     .gradient_rows = reference::gradient_rows,
                                     .key_tile = [](std::int64_t) { return reference::tile_rows; },
                                     .unpack_gradient = reference::unpack_gradient};
  return table;
}

}  // namespace annulus::kernels
