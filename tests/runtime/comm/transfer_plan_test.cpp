/// 64-bit byte counts become int counts without loss; no memory of that size is needed to check it.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/transfer_plan.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace annulus {
namespace {

TEST(TransferPlan, CoversEverySizeInOrderWithCountsThatFitAnInt) {
  constexpr std::uint64_t one = 1;
  for (const std::uint64_t bytes : {std::uint64_t{0}, one, (one << 28) - 1, one << 28, (one << 28) + 1, (one << 31) - 1,
                                    one << 31, (one << 32) - 1, one << 32, (one << 32) + 8, one << 40}) {
    std::uint64_t covered = 0;
    for (const TransferPiece& piece : plan_transfer(bytes)) {
      EXPECT_EQ(piece.offset, covered);
      EXPECT_GE(piece.count, 1);
      EXPECT_LT(piece.count, std::numeric_limits<int>::max());
      covered += static_cast<std::uint64_t>(piece.count);
    }
    EXPECT_EQ(covered, bytes);
  }
}

TEST(TransferPlan, BytesThatLieApartTravelInPiecesOfTheSameSizes) {
  const std::uint64_t piece = transfer_piece_bytes;
  const std::vector<kernels::ByteRun> runs{{7, piece - 3}, {piece * 2, 0}, {piece * 3, 2 * piece + 10}};
  const auto pieces = plan_transfer(runs);
  const auto whole = plan_transfer(piece * 3 + 7);
  ASSERT_EQ(pieces.size(), whole.size());
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    std::uint64_t bytes = 0;
    for (const kernels::ByteRun& run : pieces[i]) bytes += run.bytes;
    EXPECT_EQ(bytes, static_cast<std::uint64_t>(whole[i].count)) << i;
  }
  EXPECT_EQ(pieces[0], (TransferRuns{{7, piece - 3}, {piece * 3, 3}}));
  EXPECT_EQ(pieces[1], (TransferRuns{{piece * 3 + 3, piece}}));
  EXPECT_TRUE(plan_transfer(std::span<const kernels::ByteRun>{}).empty());
}

}  // namespace
}  // namespace annulus
