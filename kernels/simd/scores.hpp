/// What happens to a tile of scores between q.k and the softmax: cap, ALiBi, mask.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <vector>

#include "kernels/simd/geometry.hpp"

namespace annulus::kernels::simd {

/// The columns of a key tile that one group has to compute: whole panels around what its rows see.
struct VisibleColumns {
  std::int64_t begin = 0;  ///< from the first key of the tile, multiples of 32
  std::int64_t end = 0;
  RowSpan seen{};       ///< those that some row sees, even at both ends: products with p may skip the others
  bool masked = false;  ///< some row does not see some of these columns
  bool empty() const { return begin >= end; }
};

/// The mask of one block by groups of 12 rows and by query tiles, some groups each; answers most questions without
/// looking at the rows again. Nothing here takes time for keys that lie between what is seen.
class GroupMask {
 public:
  GroupMask(const VisibleRows& visible, const QueryLayout& layout, std::int64_t tile_groups);

  /// The first key from `from` on that rows of the query tile may see; no_key if there is none.
  std::int64_t next_key(std::int64_t tile, std::int64_t from) const;
  /// True if rows of the query tile may see some of `keys`.
  bool reaches(std::int64_t tile, RowSpan keys) const { return next_key(tile, keys.begin) < keys.end; }
  VisibleColumns columns(std::int64_t group, RowSpan keys) const;
  /// Writes -infinity where a row of the group does not see a key; `scores` starts at column `columns.begin`.
  void apply(std::int64_t group, RowSpan keys, const VisibleColumns& columns, float* scores) const;

  static constexpr std::int64_t no_key = std::numeric_limits<std::int64_t>::max();

 private:
  /// What the k-th spans of a group's rows have in common.
  struct Reach {
    RowSpan hull;  ///< keys that some row sees lie in here
    RowSpan core;  ///< keys that every row sees, or empty
  };
  Reach reach_of(std::int64_t group, std::int64_t k) const;
  bool all_see(std::int64_t group, RowSpan keys) const;

  const VisibleRows& visible_;
  const QueryLayout& layout_;
  std::vector<Reach> reach_;    ///< [groups][per_row]
  std::vector<RowSpan> hulls_;  ///< [query tiles][per_row]
};

/// The rule of the scores (Problem). The usual one, softmax_scale > 0 alone, is fused into the exponent.
class ScoreRule {
 public:
  explicit ScoreRule(const Problem& problem);

  /// True if scores are left as q.k and exponent_scale() does the rest.
  bool fused() const { return fused_; }
  bool has_slope() const { return cap_ > 0; }
  /// log2 units per unit of what `transform` leaves.
  float exponent_scale() const { return exponent_scale_; }

  /// Turns rows of q.k into natural-log scores. `scores` (and `slope`, d(capped)/d(uncapped), with a cap) start at
  /// column `columns.begin` of the tile of `keys`.
  void transform(const TileOps& ops, std::int64_t head, std::int64_t group, std::int64_t rows, const Block& block,
                 RowSpan keys, const VisibleColumns& columns, float* scores, float* slope) const;

 private:
  void add_alibi(std::int64_t head, std::int64_t row, std::span<const std::int64_t> key_positions, float* scores) const;

  const Problem& problem_;
  float scale_;
  float cap_;
  bool fused_;
  float exponent_scale_;
};

}  // namespace annulus::kernels::simd
