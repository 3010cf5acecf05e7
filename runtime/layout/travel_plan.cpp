/// What is seen further down the ring follows from where the keys end that each group sees.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/layout/travel_plan.hpp"

#include <algorithm>
#include <bit>
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

/// Of a block of `rows`, if `before` of them hold keys that are seen.
std::int64_t rows_seen(std::int64_t before, std::int64_t rows, std::int64_t granule) {
  return std::min(round_up(before, granule), rows);
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

RowsStillSeen::RowsStillSeen(const RingSchedule& ring, const Mask& mask, const Layout& q_layout, const Layout& k_layout,
                             std::int64_t granule)
    : granule_(granule), groups_(ring.groups()), blocks_(static_cast<std::size_t>(ring.size)) {
  std::vector<std::int64_t> ends(static_cast<std::size_t>(groups_), 0);
  for (int group = 0; group < groups_; ++group) {
    for (int member = 0; member < ring.group_size; ++member) {
      const int rank = ring.rank_at(group, member);
      std::int64_t& end = ends[static_cast<std::size_t>(group)];
      end = std::max(end, keys_end(mask, q_layout, rank));
      blocks_[static_cast<std::size_t>(rank)] = {(group + 1) % groups_, k_layout.rows(rank), k_layout.row_counter(rank)};
    }
  }
  ends_.push_back(std::move(ends));
  for (int width = 1; 2 * width <= groups_; width *= 2) {
    const std::vector<std::int64_t>& halves = ends_.back();
    std::vector<std::int64_t> wholes(halves.size());
    for (std::size_t group = 0; group < halves.size(); ++group) {
      wholes[group] = std::max(halves[group], halves[(group + static_cast<std::size_t>(width)) % halves.size()]);
    }
    ends_.push_back(std::move(wholes));
  }
}

/// Of the keys that `count` groups see, from `group` upwards and around.
std::int64_t RowsStillSeen::end_from(int group, int count) const {
  const int level = std::bit_width(static_cast<unsigned>(count)) - 1;
  const std::vector<std::int64_t>& ends = ends_[static_cast<std::size_t>(level)];
  int second = group + count - (1 << level);
  if (second >= groups_) second -= groups_;
  return std::max(ends[static_cast<std::size_t>(group)], ends[static_cast<std::size_t>(second)]);
}

/// A block visits groups downwards: with `hop` hops behind it, the last one to come is the one above its owner's.
std::int64_t RowsStillSeen::operator()(int owner, int hop) const {
  const Block& block = blocks_[static_cast<std::size_t>(owner)];
  if (hop == 0) return block.rows;
  return rows_seen(block.rows_before.rows_before(end_from(block.group_above, groups_ - hop)), block.rows, granule_);
}

TravelPlan travel_plan(const RingSchedule& ring, const Mask& mask, const Layout& q_layout, const Layout& k_layout,
                       std::int64_t granule) {
  return travel_plan(ring, RowsStillSeen(ring, mask, q_layout, k_layout, granule));
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
    const std::int64_t rows = k_layout.rows(owner);
    most = std::max(most, rows - rows_seen(k_layout.rows_before(owner, end), rows, granule));
  }
  return most;
}

}  // namespace annulus
