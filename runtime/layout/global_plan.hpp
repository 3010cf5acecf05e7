/// Queries of global tokens: few rows that see whole documents, so they visit the keys instead of all keys visiting
/// them. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/layout/halo_plan.hpp"

namespace annulus {

/// The queries (indices in [0, seq_q)) that see every key of their document because they are global tokens. Empty for
/// causal masks, where a global token sees no more than the global tokens before it, and with a stride, which shows
/// nearly everything to everyone.
RowSet global_queries(const Mask& mask);

/// Those of the global `queries` that see a key of `keys`.
RowSet visitors(const Mask& mask, const RowSet& queries, const RowSet& keys);

/// One rank's side of the visits.
struct GlobalPlan {
  HaloPlan visits;  ///< own: this rank's travelling queries; halo: those of other ranks that see keys of this one
  RowSet at_home;   ///< this rank's other queries, to whom keys travel
};

/// `travelling`: none or all of global_queries(mask). O(ranks) calls of visitors().
GlobalPlan global_plan(const Mask& mask, const Layout& q_layout, const Layout& k_layout, int rank,
                       const RowSet& travelling);

}  // namespace annulus
