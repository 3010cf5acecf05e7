/// What is seen further down the ring follows from where the keys end that each group sees.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/layout/travel_plan.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "kernels/base/checked.hpp"

namespace annulus {
namespace {

/// No query of `rank` sees keys from here on.
std::int64_t keys_end(const Mask& mask, const Layout& q_layout, int rank) {
  const std::int64_t rows = q_layout.rows(rank);
  return rows == 0 ? 0 : mask.keys_end(q_layout.position(rank, rows - 1));
}

std::int64_t rows_seen(const Layout& k_layout, int owner, std::int64_t end, std::int64_t granule) {
  return std::min(round_up(k_layout.rows_before(owner, end), granule), k_layout.rows(owner));
}

}  // namespace

TravelPlan travel_plan(const RingSchedule& ring, const std::function<std::int64_t(int owner, int hop)>& rows) {
  TravelPlan plan;
  for (int step = 0; step < ring.size; ++step) plan.at_step.push_back(rows(ring.owner_at(step), ring.hop_of(step)));
  for (int hop = 0; hop < ring.groups(); ++hop) {
    const int owner = ring.owner_at(hop * ring.group_size);
    plan.onward.push_back(rows(owner, ring.is_last_hop(hop) ? hop : hop + 1));
    plan.own.push_back(rows(ring.rank, hop));
  }
  return plan;
}

TravelPlan travel_plan(const RingSchedule& ring, const Mask& mask, const Layout& q_layout, const Layout& k_layout,
                       std::int64_t granule) {
  const int groups = ring.groups();
  std::vector<std::int64_t> ends(static_cast<std::size_t>(groups), 0);  // of the keys that a group sees
  std::vector<int> group_of(static_cast<std::size_t>(ring.size), 0);
  for (int group = 0; group < groups; ++group) {
    for (int member = 0; member < ring.group_size; ++member) {
      const int rank = ring.rank_at(group, member);
      std::int64_t& end = ends[static_cast<std::size_t>(group)];
      end = std::max(end, keys_end(mask, q_layout, rank));
      group_of[static_cast<std::size_t>(rank)] = group;
    }
  }
  return travel_plan(ring, [&](int owner, int hop) {
    if (hop == 0) return k_layout.rows(owner);
    std::int64_t end = 0;
    for (int later = hop; later < groups; ++later) {
      const int visited = (group_of[static_cast<std::size_t>(owner)] + groups - later) % groups;
      end = std::max(end, ends[static_cast<std::size_t>(visited)]);
    }
    return rows_seen(k_layout, owner, end, granule);
  });
}

std::int64_t most_rows_left_behind(const Mask& mask, const Layout& q_layout, const Layout& k_layout, std::int64_t granule) {
  const int ranks = k_layout.ranks();
  if (ranks == 1) return 0;
  std::vector<std::int64_t> ends;
  for (int rank = 0; rank < ranks; ++rank) ends.push_back(keys_end(mask, q_layout, rank));
  const auto least = std::min_element(ends.begin(), ends.end());
  const std::int64_t first = std::exchange(*least, std::numeric_limits<std::int64_t>::max());
  const std::int64_t second = *std::min_element(ends.begin(), ends.end());
  const auto rank_of_first = static_cast<int>(least - ends.begin());
  std::int64_t most = 0;
  for (int owner = 0; owner < ranks; ++owner) {
    const std::int64_t end = owner == rank_of_first ? second : first;  // of the other ranks, whichever comes last
    most = std::max(most, k_layout.rows(owner) - rows_seen(k_layout, owner, end, granule));
  }
  return most;
}

}  // namespace annulus
