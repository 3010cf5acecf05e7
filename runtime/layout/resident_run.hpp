/// The rows that stay with a rank through a run of local layers, so that no layer of the run sends anything. Pure
/// arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "runtime/layout/mask.hpp"
#include "runtime/layout/row_set.hpp"

namespace annulus {

/// Every layer widens what the one before it must have computed: the rows its queries see. All layers work on one set of
/// rows; those that a layer cannot know any more, or nobody needs, are left out of what it computes.
struct ResidentRun {
  RowSet held;                   ///< shard and halo: the rows of x that the first layer reads
  std::vector<RowSet> computed;  ///< by layer; the last one computes the shard alone
};

/// masks[run[i]] is the mask of the run's layer i. `own`: the rank's shard.
ResidentRun resident_run(const std::vector<Mask>& masks, const std::vector<std::size_t>& run, const RowSet& own);

}  // namespace annulus
