/// Every row of a shard is moved exactly once, in transfers that stay below the limit.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/row_runs.hpp"

#include <gtest/gtest.h>

namespace annulus {
namespace {

/// The position of every row, in row order, as the runs say.
std::vector<std::int64_t> positions_of(const std::vector<RowRun>& runs) {
  std::vector<std::int64_t> positions;
  for (const RowRun& run : runs) {
    EXPECT_EQ(run.row, static_cast<std::int64_t>(positions.size())) << "rows must be consecutive in memory";
    for (std::int64_t i = 0; i < run.count; ++i) {
      for (std::int64_t j = 0; j < run.block; ++j) positions.push_back(run.pos + i * run.pos_stride + j);
    }
  }
  return positions;
}

TEST(RowRuns, CoverEveryShardInOrderWithinTheLimit) {
  for (const LayoutKind kind : {LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped}) {
    for (const std::int64_t seq_len : {0, 1, 3, 64, 257}) {
      for (const std::int64_t stripe : {1, 4, 7}) {
        for (const std::int64_t max_rows : {1, 2, 5, 1000}) {
          const Layout layout(kind, seq_len, 3, stripe);
          for (int rank = 0; rank < 3; ++rank) {
            const std::vector<RowRun> runs = plan_runs(layout.pieces(rank), max_rows);
            EXPECT_EQ(positions_of(runs), layout.positions(rank))
                << name(kind) << " seq_len " << seq_len << " stripe " << stripe << " max_rows " << max_rows;
            for (const RowRun& run : runs) EXPECT_LE(run.rows(), max_rows);
          }
        }
      }
    }
  }
}

TEST(RowRuns, StripesShareOneTransfer) {
  const Layout layout(LayoutKind::striped, 120, 3, 4);
  EXPECT_EQ(plan_runs(layout.pieces(1), 1000),
            (std::vector<RowRun>{{.row = 0, .pos = 4, .block = 4, .count = 10, .pos_stride = 12}}));
}

TEST(RowRuns, ALongPieceIsSplit) {
  const std::vector<Piece> pieces{{.row = 0, .pos = 100, .rows = 10}};
  const std::vector<RowRun> runs = plan_runs(pieces, 4);
  ASSERT_EQ(runs.size(), 3U);
  EXPECT_EQ(runs[2].pos, 108);
  EXPECT_EQ(runs[2].rows(), 2);
}

}  // namespace
}  // namespace annulus
