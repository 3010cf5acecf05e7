/// How many rows of each block travel on: those that some rank further down the ring may still see. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "runtime/layout/layout.hpp"
#include "runtime/layout/mask.hpp"
#include "runtime/layout/ring_schedule.hpp"

namespace annulus {

/// Leading rows of blocks, by hop of the ring. A block never grows again. Under a causal mask in the zigzag layout the
/// high chunk is seen only by ranks below its owner, which it visits first: it stays behind where the block wraps around,
/// and a quarter of the ring's traffic with it.
struct TravelPlan {
  std::vector<std::int64_t> at_step;  ///< of the block of owner_at(step)
  std::vector<std::int64_t> onward;   ///< by hop: of the block that this rank holds then, as it leaves; all at the last
  std::vector<std::int64_t> own;      ///< by hop: of this rank's own block
};

/// `rows(owner, hop)` must not grow with the hop. Calls it O(ranks) times.
TravelPlan travel_plan(const RingSchedule& ring, const std::function<std::int64_t(int owner, int hop)>& rows);

/// Rows that some rank still sees, by owner and hop: `rows` of a travel plan. Answers in constant time.
class RowsStillSeen {
 public:
  /// `ring`: of any rank. O(ranks + groups log groups) memory.
  RowsStillSeen(const RingSchedule& ring, const Mask& mask, const Layout& q_layout, const Layout& k_layout,
                std::int64_t granule);
  /// Of the owner's block when `hop` begins: its first rows, a multiple of the granule or all.
  std::int64_t operator()(int owner, int hop) const;

 private:
  struct Block {
    int group_above;                ///< of its owner's
    std::int64_t rows;
    Layout::RowCounter rows_before;  ///< kept: finding a shard takes divisions, and a forecast asks O(ranks^2) times
  };

  std::int64_t end_from(int group, int groups) const;

  std::int64_t granule_;
  int groups_;
  std::vector<Block> blocks_;                       ///< by owner
  std::vector<std::vector<std::int64_t>> ends_;     ///< [level][group]: of the keys that 2^level groups see, upwards
};

/// For what the mask shows; blocks are cut at multiples of `granule` rows. O(ranks).
TravelPlan travel_plan(const RingSchedule& ring, const Mask& mask, const Layout& q_layout, const Layout& k_layout,
                       std::int64_t granule);

/// No block of any ring leaves more rows behind on its journey, whatever its groups. Exact for causal zigzag.
std::int64_t most_rows_left_behind(const Mask& mask, const Layout& q_layout, const Layout& k_layout, std::int64_t granule);

}  // namespace annulus
