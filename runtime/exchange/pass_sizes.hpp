/// What one pass over the ring moves: known to every rank from layout and mask alone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/base/checked.hpp"
#include "kernels/base/dtype.hpp"
#include "kernels/contract/row_array.hpp"
#include "runtime/layout/travel_plan.hpp"

namespace annulus {

/// Rows [begin, end) of a block, of which there are `count` parts; any may be empty.
struct BlockPart {
  int index = 0;
  int count = 1;
  std::int64_t begin = 0;
  std::int64_t end = 0;

  bool is_first() const { return index == 0; }
  bool is_last() const { return index + 1 == count; }
  bool empty() const { return begin == end; }
};

struct PassSizes {
  std::int64_t rows = 0;        ///< of this rank's own block
  TravelPlan travel{};
  kernels::RowArray block{};
  kernels::RowArray gradient{};  ///< cut between any two rows; no heads in a forward pass
  DType gradient_dtype = DType::f32;
  std::int64_t key_tile = 1;     ///< where kernels may cut a block into parts
  int home_parts = 1;            ///< in which gradients go home behind the last step; the same on all ranks

  bool backward() const { return gradient.heads > 0; }
  /// Rows of the block that this rank holds during a hop.
  std::int64_t held(const RingSchedule& ring, int hop) const {
    return travel.at_step[static_cast<std::size_t>(hop * ring.group_size)];
  }
  /// Of a block of `rows`; at least one tile each, but for the last ones.
  BlockPart part(std::int64_t of_rows, int index, int count) const {
    const std::int64_t step = round_up(ceil_div(of_rows, std::int64_t{count}), key_tile);
    return {index, count, std::min(of_rows, index * step), std::min(of_rows, (index + 1) * step)};
  }
  std::int64_t most_held(const RingSchedule& ring) const {
    std::int64_t most = rows;
    for (int hop = 1; hop < ring.groups(); ++hop) most = std::max(most, held(ring, hop));
    return most;
  }
};

}  // namespace annulus
