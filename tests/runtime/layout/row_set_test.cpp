/// Sets of rows against plain sets of positions; halos against what everyone needs.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/layout/row_set.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <random>
#include <set>

#include "runtime/layout/halo_plan.hpp"

namespace annulus {
namespace {

using Positions = std::set<std::int64_t>;
constexpr std::int64_t longest = 40;

Positions positions_of(const RowSet& rows) {
  const std::vector<std::int64_t> all = rows.positions();
  return {all.begin(), all.end()};
}

class Draw {
 public:
  explicit Draw(unsigned seed) : draw_(seed) {}
  std::int64_t below(std::int64_t limit) { return static_cast<std::int64_t>(draw_() % static_cast<unsigned>(limit)); }
  /// Spans in any order, some empty, some overlapping or touching.
  std::vector<PosRange> spans() {
    std::vector<PosRange> all(static_cast<std::size_t>(below(6)));
    for (PosRange& span : all) span = {below(longest), below(longest)};
    return all;
  }

 private:
  std::mt19937 draw_;
};

TEST(RowSet, HoldsTheUnionOfItsSpansInAscendingRows) {
  const unsigned seed = std::random_device{}();
  Draw draw(seed);
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE("seed " + std::to_string(seed) + " round " + std::to_string(round));
    const std::vector<PosRange> spans = draw.spans();
    Positions want;
    for (const PosRange& span : spans) {
      for (std::int64_t pos = span.begin; pos < span.end; ++pos) want.insert(pos);
    }
    const RowSet rows(spans);
    ASSERT_EQ(rows.rows(), static_cast<std::int64_t>(want.size()));
    ASSERT_EQ(positions_of(rows), want);
    std::int64_t row = 0;
    for (std::int64_t pos = -2; pos < longest + 2; ++pos) {
      ASSERT_EQ(rows.rows_before(pos), row) << pos;
      ASSERT_EQ(rows.contains(pos), want.contains(pos)) << pos;
      if (!want.contains(pos)) continue;
      ASSERT_EQ(rows.position(row), pos);
      ++row;
    }
    for (std::size_t i = 1; i < rows.pieces().size(); ++i) {
      const Piece& before = rows.pieces()[i - 1];
      ASSERT_LT(before.pos + before.rows, rows.pieces()[i].pos) << "neighbours must not touch";
      ASSERT_EQ(before.row + before.rows, rows.pieces()[i].row);
    }
  }
}

TEST(RowSet, AddsCutsAndSubtractsAsSetsDo) {
  const unsigned seed = std::random_device{}();
  Draw draw(seed);
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE("seed " + std::to_string(seed) + " round " + std::to_string(round));
    const RowSet a(draw.spans());
    const RowSet b(draw.spans());
    const Positions left = positions_of(a);
    const Positions right = positions_of(b);
    Positions both;
    Positions common;
    Positions rest;
    std::ranges::set_union(left, right, std::inserter(both, both.end()));
    std::ranges::set_intersection(left, right, std::inserter(common, common.end()));
    std::ranges::set_difference(left, right, std::inserter(rest, rest.end()));
    ASSERT_EQ(positions_of(unite(a, b)), both);
    ASSERT_EQ(positions_of(intersect(a, b)), common);
    ASSERT_EQ(positions_of(without(a, b)), rest);
  }
}

/// Needs of every rank: random spans, so that anyone may need anything of anyone.
TEST(HaloPlan, BringsEveryRankWhatItLacksFromTheOneThatOwnsIt) {
  const unsigned seed = std::random_device{}();
  Draw draw(seed);
  for (int round = 0; round < 200; ++round) {
    const int ranks = 1 + static_cast<int>(draw.below(8));
    const auto kind = static_cast<LayoutKind>(draw.below(3));
    const Layout layout(kind, longest, ranks, 1 + draw.below(7));
    SCOPED_TRACE("seed " + std::to_string(seed) + " round " + std::to_string(round) + " " + std::string(name(kind)));
    std::vector<RowSet> needs;
    for (int rank = 0; rank < ranks; ++rank) needs.emplace_back(draw.spans());
    const auto needed = [&](int rank) { return needs[static_cast<std::size_t>(rank)]; };
    std::vector<HaloPlan> plans;
    for (int rank = 0; rank < ranks; ++rank) plans.push_back(halo_plan(layout, rank, needed));
    for (int rank = 0; rank < ranks; ++rank) {
      const HaloPlan& plan = plans[static_cast<std::size_t>(rank)];
      EXPECT_EQ(plan.own, layout.row_set(rank));
      EXPECT_EQ(plan.held(), unite(plan.own, needed(rank)));
      std::int64_t arriving = 0;
      for (const HaloPart& part : plan.arriving) {
        arriving += part.rows.rows();
        const auto& leaving = plans[static_cast<std::size_t>(part.peer)].leaving;
        EXPECT_NE(std::ranges::find(leaving, HaloPart{rank, part.rows}), leaving.end()) << "nobody sends what is awaited";
      }
      EXPECT_EQ(arriving, plan.halo.rows()) << "every row once";
      for (const HaloPart& part : plan.leaving) {
        const auto& awaited = plans[static_cast<std::size_t>(part.peer)].arriving;
        EXPECT_NE(std::ranges::find(awaited, HaloPart{rank, part.rows}), awaited.end()) << "nobody awaits what is sent";
      }
    }
  }
}

}  // namespace
}  // namespace annulus
