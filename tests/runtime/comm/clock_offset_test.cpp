/// Clocks that are hours apart, compared by messages.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/clock_offset.hpp"

#include <gtest/gtest.h>

#include <chrono>

namespace annulus {
namespace {

constexpr std::int64_t hour = std::int64_t{3600} * 1'000'000'000;
constexpr std::int64_t minute = hour / 60;  ///< what a message may take here at most

TEST(ClockOffset, TellsHowFarRankZeroIsAhead) {
  const Communicator world = Communicator::duplicate(MPI_COMM_WORLD);
  const std::int64_t slow = world.rank() * hour;  // rank r is r hours behind
  const auto now = [slow] {
    return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count() - slow;
  };
  for (int rank = 1; rank < world.size(); ++rank) {
    if (world.rank() != 0 && world.rank() != rank) continue;
    const std::int64_t offset = clock_offset(world, rank, now);
    EXPECT_GT(offset, rank * hour - minute);
    EXPECT_LT(offset, rank * hour + minute);
  }
}

}  // namespace
}  // namespace annulus
