/// A halo exchange cut into rounds, so that a rank need not hold its whole halo at once. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "runtime/layout/halo_plan.hpp"

namespace annulus {

/// Rounds are ranges of ring distances, the same on every rank. At one distance a rank hears from the owner so many
/// ranks before it and sends to the rank so many after it: never more than a shard, and what two ranks have to do with
/// each other falls into one round.
struct HaloRounds {
  std::vector<int> ends;            ///< one past the last distance of each round; the first begins at 1; never empty
  std::int64_t most_arriving = 0;   ///< rows that one rank receives in one round
  std::int64_t most_leaving = 0;    ///< rows that one rank sends in one round; those that several ranks see count once
  std::int64_t most_returning = 0;  ///< likewise, each rank's share counted: what comes home of gradients
  std::int64_t largest_part = 0;    ///< rows between two ranks

  int count() const { return static_cast<int>(ends.size()); }
  friend bool operator==(const HaloRounds&, const HaloRounds&) = default;
};

/// As few rounds as nearest distances first can make, none of which has a rank receive or send more than `most_rows`
/// (each row counted once), but for single distances. `needed` as for halo_plan. O(ranks^2), and the lists
/// of those pairs that have to do with each other.
HaloRounds halo_rounds(const Layout& layout, const std::function<RowSet(int rank)>& needed, std::int64_t most_rows);

/// What of `plan`, which is that of `rank`, falls into each round: disjoint, and all of it but `own`.
std::vector<HaloPlan> plans_of_rounds(const HaloPlan& plan, int rank, int ranks, const HaloRounds& rounds);

}  // namespace annulus
