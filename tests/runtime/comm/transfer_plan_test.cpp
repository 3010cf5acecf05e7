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

}  // namespace
}  // namespace annulus
