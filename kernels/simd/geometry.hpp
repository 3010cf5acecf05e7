/// Sizes and places of everything the SIMD rows keep in memory: packed blocks, gradients, carries.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/base/checked.hpp"
#include "kernels/contract/attention.hpp"
#include "kernels/simd/tile_ops.hpp"

namespace annulus::kernels::simd {

inline constexpr std::int64_t widest_row = 256;  ///< the largest head_dim

/// Columns of a row-major tile.
constexpr std::int64_t padded_width(std::int64_t head_dim) { return round_up(head_dim, width_step); }

/// Keys that a forward task holds against its query rows: K and V of a tile stay within half of a 1 MiB L2.
constexpr std::int64_t forward_tile_keys(std::int64_t head_dim) { return head_dim <= 128 ? 256 : 128; }
/// Keys whose dK and dV one backward task accumulates; a multiple of 12 and of 32.
constexpr std::int64_t backward_tile_keys(std::int64_t head_dim) { return head_dim <= 128 ? 192 : 96; }
/// Groups of one forward task (192 rows).
inline constexpr std::int64_t chunk_groups = 16;
/// Groups of one query tile of backward: 96 rows, 48 for wide heads.
constexpr std::int64_t query_tile_groups(std::int64_t head_dim) { return head_dim <= 128 ? 8 : 4; }

/// Where a packed block keeps K and V, in elements of its dtype. Per (batch, kv head): K in panels
/// [rows / 32][depth][32]; then V, forward as [rows][width], backward in panels like K. Words of two elements (TileOps)
/// take them from neighbouring channels in panels, from neighbouring keys in V's rows. Padded with zeros.
struct PackedLayout {
  std::int64_t rows;    ///< padded to whole panels
  std::int64_t depth;   ///< head_dim, padded to whole words
  std::int64_t k_size;  ///< elements of K of one (batch, kv head)
  std::int64_t v_size;
  std::int64_t kv_heads;

  std::int64_t k_at(std::int64_t b, std::int64_t kv_head) const { return (b * kv_heads + kv_head) * (k_size + v_size); }
  std::int64_t v_at(std::int64_t b, std::int64_t kv_head) const { return k_at(b, kv_head) + k_size; }
};
PackedLayout packed_layout(const BlockShape& shape, Direction direction, std::int64_t pair);

/// The array of dK and dV of a block: [batch][kv_heads]{dK, dV}[rows][width] f32, dK times softmax_scale.
struct GradientLayout {
  std::int64_t rows;
  std::int64_t width;
  std::int64_t kv_heads;

  std::int64_t dk_at(std::int64_t b, std::int64_t kv_head) const { return (b * kv_heads + kv_head) * 2 * rows * width; }
  std::int64_t dv_at(std::int64_t b, std::int64_t kv_head) const { return dk_at(b, kv_head) + rows * width; }
};
GradientLayout gradient_layout(const BlockShape& shape);

/// The query side of a pass: rows in groups of 12, the last one padded.
struct QueryLayout {
  std::int64_t heads;
  std::int64_t rows;    ///< as the caller counts
  std::int64_t groups;  ///< per head
  std::int64_t head_dim;
  std::int64_t depth;  ///< words of a row of q
  std::int64_t width;

  std::int64_t padded_rows() const { return groups * group_rows; }
  /// Index of the first row of a group in arrays [batch][heads][padded_rows].
  std::int64_t row_at(std::int64_t b, std::int64_t head, std::int64_t group) const {
    return ((b * heads + head) * groups + group) * group_rows;
  }
  std::int64_t rows_of_group(std::int64_t group) const {
    const std::int64_t left = rows - group * group_rows;
    return left < group_rows ? left : group_rows;
  }
};
QueryLayout query_layout(const Problem& problem, std::int64_t pair);

RowArray packed_rows(const BlockShape& shape, Direction direction, std::int64_t pair);
std::uint64_t pass_bytes(const Problem& problem, Direction direction, std::int64_t pair);
/// Of one worker. Blocks that are no tiles themselves (neither f32 nor words of two) are widened into scratch.
std::uint64_t scratch_bytes(const Problem& problem, Direction direction, std::int64_t pair);
RowArray gradient_rows(const BlockShape& shape);

}  // namespace annulus::kernels::simd
