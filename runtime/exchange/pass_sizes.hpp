/// What one pass over the ring moves: known to every rank from layout and mask alone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/base/dtype.hpp"
#include "kernels/contract/row_array.hpp"
#include "runtime/layout/travel_plan.hpp"

namespace annulus {

struct PassSizes {
  std::int64_t rows = 0;        ///< of this rank's own block
  TravelPlan travel{};
  kernels::RowArray block{};
  kernels::RowArray gradient{};  ///< cut between any two rows; no heads in a forward pass
  DType gradient_dtype = DType::f32;

  bool backward() const { return gradient.heads > 0; }
  /// Rows of the block that this rank holds during a hop.
  std::int64_t held(const RingSchedule& ring, int hop) const {
    return travel.at_step[static_cast<std::size_t>(hop * ring.group_size)];
  }
  std::int64_t most_held(const RingSchedule& ring) const {
    std::int64_t most = rows;
    for (int hop = 1; hop < ring.groups(); ++hop) most = std::max(most, held(ring, hop));
    return most;
  }
};

}  // namespace annulus
