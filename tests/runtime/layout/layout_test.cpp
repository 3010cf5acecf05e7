/// Every position has one owner and one row, on any number of ranks.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/layout/layout.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "kernels/base/error.hpp"
#include "runtime/layout/ring_schedule.hpp"

namespace annulus {
namespace {

void expect_bijection(const Layout& layout) {
  std::vector<int> seen(static_cast<std::size_t>(layout.seq_len()), 0);
  std::int64_t rows = 0;
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    const auto positions = layout.positions(rank);
    ASSERT_EQ(static_cast<std::int64_t>(positions.size()), layout.rows(rank));
    EXPECT_TRUE(std::is_sorted(positions.begin(), positions.end()));
    for (std::int64_t row = 0; row < layout.rows(rank); ++row) {
      const std::int64_t pos = positions[static_cast<std::size_t>(row)];
      ++seen[static_cast<std::size_t>(pos)];
      EXPECT_EQ(layout.position(rank, row), pos);
      EXPECT_EQ(layout.owner(pos), rank);
      EXPECT_EQ(layout.row(pos), row);
    }
    rows += layout.rows(rank);
  }
  EXPECT_EQ(rows, layout.seq_len());
  EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](int times) { return times == 1; }));
}

TEST(Layout, EveryPositionHasOneOwnerAndOneRow) {
  for (const LayoutKind kind : {LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped}) {
    for (const int ranks : {1, 2, 3, 4, 5, 7, 8, 16}) {
      for (const std::int64_t seq_len : {0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 257}) {
        for (const std::int64_t stripe : {1, 3, 8}) {
          SCOPED_TRACE(std::string(name(kind)) + " S=" + std::to_string(seq_len) + " P=" + std::to_string(ranks) +
                       " stripe=" + std::to_string(stripe));
          expect_bijection(Layout(kind, seq_len, ranks, stripe));
        }
      }
    }
  }
}

TEST(Layout, RandomShapesStayBijective) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 draw(seed);
  for (int round = 0; round < 50; ++round) {
    const auto kind = static_cast<LayoutKind>(draw() % 3);
    expect_bijection(Layout(kind, draw() % 700, 1 + static_cast<int>(draw() % 20), 1 + draw() % 40));
  }
}

TEST(Layout, RowsBeforeCountsTheRowsBelowAPosition) {
  for (const LayoutKind kind : {LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped}) {
    const Layout layout(kind, 53, 4, 3);
    for (int rank = 0; rank < 4; ++rank) {
      const auto positions = layout.positions(rank);
      for (std::int64_t pos = -2; pos <= 55; ++pos) {
        const auto below = std::lower_bound(positions.begin(), positions.end(), pos) - positions.begin();
        EXPECT_EQ(layout.rows_before(rank, pos), below) << name(kind) << " rank " << rank << " pos " << pos;
      }
    }
  }
}

TEST(Layout, ZigzagGivesEachRankAChunkFromEachEnd) {
  const Layout layout(LayoutKind::zigzag, 16, 4);
  EXPECT_EQ(layout.pieces(0), (std::vector<Piece>{{0, 0, 2}, {2, 14, 2}}));
  EXPECT_EQ(layout.pieces(3), (std::vector<Piece>{{0, 6, 4}}));  // its two chunks touch
}

TEST(Layout, StripedDealsStripesRoundRobin) {
  const Layout layout(LayoutKind::striped, 10, 2, 3);
  EXPECT_EQ(layout.pieces(0), (std::vector<Piece>{{0, 0, 3}, {3, 6, 3}}));
  EXPECT_EQ(layout.pieces(1), (std::vector<Piece>{{0, 3, 3}, {3, 9, 1}}));
}

TEST(Layout, ShardsDifferByAtMostOneRowPerChunk) {
  for (const int ranks : {3, 7, 8}) {
    const Layout contiguous(LayoutKind::contiguous, 1000, ranks);
    const Layout zigzag(LayoutKind::zigzag, 1000, ranks);
    for (int rank = 0; rank < ranks; ++rank) {
      EXPECT_LE(contiguous.max_rows() - contiguous.rows(rank), 1);
      EXPECT_LE(zigzag.max_rows() - zigzag.rows(rank), 2);
    }
  }
}

TEST(Layout, BillionsOfPositionsDoNotOverflow) {
  for (const LayoutKind kind : {LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped}) {
    const std::int64_t seq_len = std::int64_t{1} << 40;
    const Layout layout(kind, seq_len, 4096, 512);
    for (const std::int64_t pos : {std::int64_t{0}, seq_len / 3, seq_len - 1}) {
      EXPECT_EQ(layout.position(layout.owner(pos), layout.row(pos)), pos);
    }
  }
}

TEST(Layout, RefusesImpossibleShapes) {
  EXPECT_THROW(Layout(LayoutKind::zigzag, -1, 2), UsageError);
  EXPECT_THROW(Layout(LayoutKind::zigzag, 8, 0), UsageError);
  EXPECT_THROW(Layout(LayoutKind::striped, 8, 2, 0), UsageError);
  EXPECT_THROW(Layout(LayoutKind::zigzag, std::int64_t{1} << 62, 8), ResourceError);
}

TEST(RingSchedule, EveryRankMeetsEveryOwnerOnceAndBlocksComeFromTheNextRank) {
  for (const int size : {1, 2, 3, 8}) {
    for (int rank = 0; rank < size; ++rank) {
      const RingSchedule ring{rank, size};
      std::vector<bool> met(static_cast<std::size_t>(size), false);
      for (int step = 0; step < size; ++step) {
        met[static_cast<std::size_t>(ring.owner_at(step))] = true;
        if (step + 1 == size) continue;
        EXPECT_EQ(ring.owner_at(step + 1), (RingSchedule{ring.next(), size}.owner_at(step)));
      }
      EXPECT_TRUE(std::all_of(met.begin(), met.end(), [](bool once) { return once; }));
    }
  }
}

TEST(RingSchedule, GroupsInAnyOrderOfRanksMeetEveryOwnerWhereItsBlockIsHosted) {
  const std::vector<int> dealt{0, 2, 4, 1, 3, 5};  // two nodes of three, ranks dealt in turn
  for (const int group_size : {1, 2, 3, 6}) {
    const auto ring_of = [&](int rank) { return RingSchedule(rank, dealt, group_size); };
    for (int rank = 0; rank < 6; ++rank) {
      const RingSchedule ring = ring_of(rank);
      std::vector<bool> met(6, false);
      for (int step = 0; step < 6; ++step) {
        const int owner = ring.owner_at(step);
        met[static_cast<std::size_t>(owner)] = true;
        EXPECT_EQ(ring_of(owner).host_at(ring.hop_of(step)), ring.rank_at(ring.group(), ring.holder_at(step)));
      }
      EXPECT_TRUE(std::all_of(met.begin(), met.end(), [](bool once) { return once; }));
      EXPECT_EQ(ring.owner_at(0), rank);
      EXPECT_EQ(ring_of(ring.next()).prev(), rank);
    }
  }
}

}  // namespace
}  // namespace annulus
