/// Sizes, every product checked.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/simd/geometry.hpp"

namespace annulus::kernels::simd {

PackedLayout packed_layout(const BlockShape& shape, Direction direction, std::int64_t pair) {
  const std::int64_t rows = round_up(shape.rows, panel_keys);
  const std::int64_t depth = round_up(shape.head_dim, pair);
  const std::int64_t v_columns = direction == Direction::forward ? padded_width(shape.head_dim) : depth;
  return {rows, depth, rows * depth, rows * v_columns, shape.kv_heads};
}

GradientLayout gradient_layout(const BlockShape& shape) {
  return {shape.rows, padded_width(shape.head_dim), shape.kv_heads};
}

QueryLayout query_layout(const Problem& problem, std::int64_t pair) {
  return {problem.heads,
          problem.q_rows,
          ceil_div(problem.q_rows, group_rows),
          problem.head_dim,
          ceil_div(problem.head_dim, pair),
          padded_width(problem.head_dim)};
}

std::uint64_t packed_bytes(const BlockShape& shape, Direction direction, std::int64_t pair) {
  const std::int64_t depth = round_up(shape.head_dim, pair);
  const std::int64_t v_columns = direction == Direction::forward ? padded_width(shape.head_dim) : depth;
  return checked_product({shape.batch, shape.kv_heads, round_up(shape.rows, panel_keys), depth + v_columns,
                          static_cast<std::int64_t>(size_of(shape.dtype))});
}

std::uint64_t pass_bytes(const Problem& problem, Direction direction, std::int64_t pair) {
  const QueryLayout layout = query_layout(problem, pair);
  // forward: packed q, o, m, l (twice with words of two); backward: q and dout packed and row-major, dq, lse, delta
  const std::int64_t row_floats = direction == Direction::forward
                                      ? layout.depth + layout.width + 1 + pair
                                      : 2 * layout.depth + 2 * layout.width / pair + layout.width + 2;
  return checked_product({problem.batch, problem.heads, layout.padded_rows(), row_floats, 4});
}

std::int64_t gradient_elements(const BlockShape& shape) {
  return static_cast<std::int64_t>(
      checked_product({shape.batch, shape.kv_heads, 2, shape.rows, padded_width(shape.head_dim)}));
}

}  // namespace annulus::kernels::simd
