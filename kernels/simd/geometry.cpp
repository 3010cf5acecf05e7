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

RowArray packed_rows(const BlockShape& shape, Direction direction, std::int64_t pair) {
  const std::int64_t depth = round_up(shape.head_dim, pair);
  const std::int64_t v_columns = direction == Direction::forward ? padded_width(shape.head_dim) : depth;
  const auto element = static_cast<std::int64_t>(size_of(shape.dtype));
  return {static_cast<std::int64_t>(checked_product({shape.batch, shape.kv_heads})), depth * element,
          v_columns * element, panel_keys};
}

std::uint64_t pass_bytes(const Problem& problem, Direction direction, std::int64_t pair) {
  const QueryLayout layout = query_layout(problem, pair);
  // forward: packed q, o, m, l (twice with words of two); backward: q and dout packed and row-major, dq, lse, delta
  const std::int64_t row_floats = direction == Direction::forward
                                      ? layout.depth + layout.width + 1 + pair
                                      : 2 * layout.depth + 2 * layout.width / pair + layout.width + 2;
  return checked_product({problem.batch, problem.heads, layout.padded_rows(), row_floats, 4});
}

std::uint64_t scratch_bytes(const Problem& problem, Direction direction, std::int64_t pair) {
  const std::int64_t head_dim = problem.head_dim;
  const std::int64_t width = padded_width(head_dim);
  const bool widens = problem.dtype != DType::f32 && pair == 1;
  const std::int64_t row_scores = group_rows * score_stride;
  if (direction == Direction::forward) {  // scores; K and V
    const std::int64_t keys = widens ? forward_tile_keys(head_dim) : 0;
    return checked_product({row_scores + keys * (head_dim + width), 4});
  }
  // p, ds (twice with words of two), slope; K and V; K in rows, dK, dV
  const std::int64_t keys = backward_tile_keys(head_dim);
  const std::int64_t scores = row_scores * ((1 + pair) * query_tile_groups(head_dim) + (problem.softcap > 0 ? 1 : 0));
  return checked_product({scores + keys * ((widens ? 2 * head_dim : 0) + 3 * width), 4});
}

RowArray gradient_rows(const BlockShape& shape) {
  const std::int64_t row_bytes = padded_width(shape.head_dim) * 4;
  return {static_cast<std::int64_t>(checked_product({shape.batch, shape.kv_heads})), row_bytes, row_bytes};
}

}  // namespace annulus::kernels::simd
