/// No row is left behind that somebody further on sees, and under a causal mask in zigzag a quarter of all is.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/layout/travel_plan.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "kernels/base/checked.hpp"
#include "tests/support/random_masks.hpp"

namespace annulus {
namespace {

struct Case {
  Mask mask;
  Layout q_layout;
  Layout k_layout;
  std::int64_t granule;
  int group_size;

  RingSchedule ring(int rank) const {
    std::vector<int> by_group(static_cast<std::size_t>(k_layout.ranks()));
    std::iota(by_group.begin(), by_group.end(), 0);
    return {rank, by_group, group_size};
  }
  TravelPlan plan(int rank) const { return travel_plan(ring(rank), mask, q_layout, k_layout, granule); }
};

/// Row by row: the end of the owner's rows that a query of `rank` sees.
std::int64_t rows_seen(const Case& c, int rank, int owner) {
  std::int64_t end = 0;
  for (const std::int64_t q : c.q_layout.positions(rank)) {
    for (const PosSpan& keys : c.mask.visible_keys(q).spans()) {
      for (std::int64_t k = keys.begin; k < keys.end; k += keys.step) {
        if (c.k_layout.owner(k) == owner) end = std::max(end, c.k_layout.row(k) + 1);
      }
    }
  }
  return end;
}

void expect_all_seen_rows_travel(const Case& c) {
  for (int rank = 0; rank < c.k_layout.ranks(); ++rank) {
    const RingSchedule ring = c.ring(rank);
    const TravelPlan plan = c.plan(rank);
    for (int step = 0; step < ring.size; ++step) {
      const std::int64_t rows = plan.at_step[static_cast<std::size_t>(step)];
      EXPECT_GE(rows, rows_seen(c, rank, ring.owner_at(step)));
      EXPECT_TRUE(rows % c.granule == 0 || rows == c.k_layout.rows(ring.owner_at(step)));
    }
  }
}

/// What a rank sends on is what its counterpart expects, and owners know what comes home early.
void expect_ranks_agree(const Case& c) {
  for (int rank = 0; rank < c.k_layout.ranks(); ++rank) {
    const RingSchedule ring = c.ring(rank);
    const TravelPlan plan = c.plan(rank);
    const TravelPlan prev = c.plan(ring.prev());
    for (int hop = 0; hop < ring.groups(); ++hop) {
      const auto at = static_cast<std::size_t>(hop);
      const auto first = static_cast<std::size_t>(hop * ring.group_size);
      EXPECT_LE(plan.onward[at], plan.at_step[first]);
      EXPECT_EQ(c.plan(ring.owner_at(hop * ring.group_size)).own[at], plan.at_step[first]);
      if (ring.is_last_hop(hop)) continue;
      EXPECT_EQ(prev.at_step[first + static_cast<std::size_t>(ring.group_size)], plan.onward[at]);
    }
  }
}

/// What memory is planned for.
void expect_within_the_bound(const Case& c) {
  const std::int64_t bound = most_rows_left_behind(c.mask, c.q_layout, c.k_layout, c.granule);
  for (int rank = 0; rank < c.k_layout.ranks(); ++rank) {
    EXPECT_LE(c.k_layout.rows(rank) - c.plan(rank).own.back(), bound) << "rank " << rank;
  }
}

TEST(TravelPlan, KeepsWhatIsSeenForRandomMasksAndLayouts) {
  const unsigned seed = std::random_device{}();
  std::mt19937_64 draw(seed);
  for (int i = 0; i < 60; ++i) {
    const int ranks = 1 + static_cast<int>(draw() % 8);
    std::vector<int> sizes;
    for (int size = 1; size <= ranks; ++size) {
      if (ranks % size == 0) sizes.push_back(size);
    }
    const auto kind = static_cast<LayoutKind>(draw() % 3);
    const auto seq_q = static_cast<std::int64_t>(draw() % 90);
    const auto seq_k = static_cast<std::int64_t>(draw() % 90);
    const MaskSpec spec = test::RandomMask(draw, seq_q, seq_k).any();
    const Case c{Mask(spec, seq_q, seq_k), Layout(kind, seq_q, ranks, 3), Layout(kind, seq_k, ranks, 3),
                 std::array<std::int64_t, 3>{1, 4, 32}[draw() % 3], sizes[draw() % sizes.size()]};
    SCOPED_TRACE("seed " + std::to_string(seed) + ", case " + std::to_string(i) + ": " + c.mask.describe() + ", " +
                 std::string(name(kind)) + ", " + std::to_string(seq_q) + "x" + std::to_string(seq_k) + " on " +
                 std::to_string(ranks) + " in groups of " + std::to_string(c.group_size));
    expect_all_seen_rows_travel(c);
    expect_ranks_agree(c);
    expect_within_the_bound(c);
  }
}

TEST(TravelPlan, CausalZigzagLeavesAQuarterBehindAndFullMasksNothing) {
  for (const auto& [ranks, group_size] : {std::pair{8, 1}, {8, 2}, {64, 1}, {64, 8}}) {
    const std::int64_t seq_len = ranks * 64;
    const Layout layout(LayoutKind::zigzag, seq_len, ranks);
    for (const bool causal : {true, false}) {
      const Case c{Mask({.causal = causal}, seq_len, seq_len), layout, layout, 1, group_size};
      std::int64_t sent = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const TravelPlan plan = c.plan(rank);
        sent += std::accumulate(plan.onward.begin(), plan.onward.end() - 1, std::int64_t{0});
      }
      const std::int64_t whole = seq_len * (ranks / group_size - 1);
      EXPECT_EQ(sent * 4, causal ? whole * 3 : whole * 4) << ranks << " ranks in groups of " << group_size;
    }
  }
}

TEST(TravelPlan, KnowsTheMostRowsThatComeHomeEarly) {
  const Layout layout(LayoutKind::zigzag, 800, 8);
  const Mask causal({.causal = true}, 800, 800);
  EXPECT_EQ(most_rows_left_behind(causal, layout, layout, 1), 50);
  EXPECT_EQ(most_rows_left_behind(causal, layout, layout, 32), 100 - 64);
  EXPECT_EQ(most_rows_left_behind(Mask({}, 800, 800), layout, layout, 1), 0);
}

TEST(TravelPlan, BoundsWhatGroupsThatCannotSeeLeaveBehind) {
  const Layout stripes(LayoutKind::striped, 41, 8, 40);  // rank 0 has 40 rows, rank 1 one, the second group none
  const Case c{Mask({.causal = true}, 41, 41), stripes, stripes, 1, 4};
  EXPECT_EQ(stripes.rows(0) - c.plan(0).own.back(), 40);
  expect_within_the_bound(c);
}

}  // namespace
}  // namespace annulus
