/// Rounds of a halo exchange: everything once, nothing more than a shard, the same cut on every rank.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/layout/halo_rounds.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace annulus {
namespace {

/// Needs of every rank: random spans, or the same first positions for all.
struct Case {
  explicit Case(std::mt19937_64& draw) {
    const auto below = [&](std::uint64_t limit) { return static_cast<std::int64_t>(draw() % limit); };
    const int ranks = 1 + static_cast<int>(below(9));
    layout = Layout(static_cast<LayoutKind>(below(3)), 1 + below(80), ranks, 1 + below(7));
    for (int rank = 0; rank < ranks; ++rank) {
      std::vector<PosRange> spans;
      if (below(2) == 0) spans.push_back({0, std::min<std::int64_t>(3, layout.seq_len())});
      for (std::int64_t count = below(4); count > 0; --count) {
        const std::int64_t begin = below(static_cast<std::uint64_t>(layout.seq_len()));
        spans.push_back({begin, std::min(layout.seq_len(), begin + below(40))});
      }
      needs.emplace_back(std::move(spans));
    }
  }
  RowSet needed(int rank) const { return needs[static_cast<std::size_t>(rank)]; }
  HaloRounds rounds() const {
    return halo_rounds(
        layout, [this](int rank) { return needed(rank); }, layout.max_rows());
  }
  std::vector<HaloPlan> plans(int rank) const {
    const HaloPlan whole = halo_plan(layout, rank, [this](int r) { return needed(r); });
    return plans_of_rounds(whole, rank, layout.ranks(), rounds());
  }

  Layout layout{LayoutKind::contiguous, 1, 1, 1};
  std::vector<RowSet> needs;
};

std::int64_t rows_of(const std::vector<HaloPart>& parts) {
  std::int64_t rows = 0;
  for (const HaloPart& part : parts) rows += part.rows.rows();
  return rows;
}

TEST(HaloRounds, BringAllOfTheHaloOnceAndBothSidesInTheSameRound) {
  const std::uint64_t seed = std::random_device{}();
  std::mt19937_64 draw(seed);
  for (int run = 0; run < 300; ++run) {
    SCOPED_TRACE("seed " + std::to_string(seed) + " run " + std::to_string(run));
    const Case test(draw);
    const int ranks = test.layout.ranks();
    std::vector<std::vector<HaloPlan>> plans;
    for (int rank = 0; rank < ranks; ++rank) plans.push_back(test.plans(rank));
    for (int rank = 0; rank < ranks; ++rank) {
      const auto& rounds = plans[static_cast<std::size_t>(rank)];
      ASSERT_EQ(rounds.size(), static_cast<std::size_t>(test.rounds().count()));
      RowSet arrived;
      for (std::size_t round = 0; round < rounds.size(); ++round) {
        EXPECT_TRUE(intersect(arrived, rounds[round].halo).empty());
        EXPECT_EQ(rows_of(rounds[round].arriving), rounds[round].halo.rows());
        arrived = unite(arrived, rounds[round].halo);
        for (const HaloPart& part : rounds[round].arriving) {
          const auto& leaving = plans[static_cast<std::size_t>(part.peer)][round].leaving;
          EXPECT_NE(std::ranges::find(leaving, HaloPart{rank, part.rows}), leaving.end()) << "nobody sends this now";
        }
      }
      EXPECT_EQ(arrived, without(test.needed(rank), test.layout.row_set(rank)));
    }
  }
}

TEST(HaloRounds, AreNoMoreThanAShardEachWayAndAsLongAsThat) {
  const std::uint64_t seed = std::random_device{}();
  std::mt19937_64 draw(seed);
  for (int run = 0; run < 300; ++run) {
    SCOPED_TRACE("seed " + std::to_string(seed) + " run " + std::to_string(run));
    const Case test(draw);
    const HaloRounds rounds = test.rounds();
    std::int64_t most_arriving = 0;
    std::int64_t most_returning = 0;
    std::vector<std::int64_t> together(rounds.ends.size());  // the most that two rounds in one would have brought
    for (int rank = 0; rank < test.layout.ranks(); ++rank) {
      const std::vector<HaloPlan> plans = test.plans(rank);
      for (std::size_t round = 0; round < plans.size(); ++round) {
        std::map<std::vector<std::int64_t>, std::int64_t> distinct;
        for (const HaloPart& part : plans[round].leaving) distinct[part.rows.positions()] = part.rows.rows();
        std::int64_t leaving = 0;
        for (const auto& [rows, count] : distinct) leaving += count;
        EXPECT_LE(leaving, rounds.most_leaving);
        for (const HaloPart& part : plans[round].leaving) EXPECT_LE(part.rows.rows(), rounds.largest_part);
        most_arriving = std::max(most_arriving, rows_of(plans[round].arriving));
        most_returning = std::max(most_returning, rows_of(plans[round].leaving));
        if (round == 0) continue;
        const std::int64_t both = std::max(rows_of(plans[round - 1].arriving) + rows_of(plans[round].arriving),
                                           rows_of(plans[round - 1].leaving) + rows_of(plans[round].leaving));
        together[round] = std::max(together[round], both);
      }
    }
    EXPECT_EQ(rounds.most_arriving, most_arriving);
    EXPECT_EQ(rounds.most_returning, most_returning);
    EXPECT_LE(rounds.most_arriving, test.layout.max_rows());
    EXPECT_LE(rounds.most_leaving, test.layout.max_rows());
    for (std::size_t round = 1; round < together.size(); ++round) {
      EXPECT_GT(together[round], test.layout.max_rows())
          << "rounds " << round - 1 << " and " << round << " could be one";
    }
  }
}

/// A window of 2.5 shards of 10: the nearest owner first, what is left of the third with nothing else.
TEST(HaloRounds, OfAWindowBringOneNeighbourEach) {
  const Layout layout(LayoutKind::contiguous, 80, 8);
  const auto window = [&](int rank) { return RowSet({{std::max(0, rank * 10 - 25), rank * 10 + 10}}); };
  EXPECT_EQ(halo_rounds(layout, window, 10).ends, (std::vector<int>{2, 3, 8}));
  const auto short_window = [&](int rank) { return RowSet({{std::max(0, rank * 10 - 10), rank * 10 + 10}}); };
  EXPECT_EQ(halo_rounds(layout, short_window, 10).count(), 1);
  const auto sinks = [&](int rank) { return RowSet({{0, 9}, {rank * 10, rank * 10 + 10}}); };
  EXPECT_EQ(halo_rounds(layout, sinks, 10).count(), 1) << "the same rows for all are staged once";
  const auto of_odd_ranks = [&](int rank) { return rank % 2 == 1 ? sinks(rank) : layout.row_set(rank); };
  EXPECT_EQ(halo_rounds(layout, of_odd_ranks, 10).count(), 1) << "also past ranks that want nothing";
}

}  // namespace
}  // namespace annulus
