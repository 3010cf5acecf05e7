/// Ranks on devices, by numbers alone: no GPU is needed to count.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/device/placement.hpp"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "kernels/base/error.hpp"

namespace annulus {
namespace {

TEST(ChooseDevice, RanksTakeTurns) {
  EXPECT_EQ(choose_device(0, 1, 0), 0);
  EXPECT_EQ(choose_device(3, 1, 0), 0);
  EXPECT_EQ(choose_device(1, 4, 0), 1);
  EXPECT_EQ(choose_device(6, 4, 0), 2);
}

TEST(ChooseDevice, ProgramsKeepTheirChoice) { EXPECT_EQ(choose_device(1, 4, 3), 3); }

TEST(CheckRoom, CountsTheRanksOfOneDevice) {
  const DevicePlacement mine{.device = 1, .identity = 7, .free_bytes = 100, .total_bytes = 120};
  EXPECT_NO_THROW(check_room(mine, std::array<DeviceNeed, 3>{{{7, 40}, {8, 1000}, {7, 60}}}));
  try {
    check_room(mine, std::array<DeviceNeed, 3>{{{7, 40}, {8, 1000}, {7, 61}}});
    FAIL() << "101 bytes fitted 100";
  } catch (const ResourceError& error) {
    EXPECT_STREQ(error.what(),
                 "GPU 1 has 100 of 120 bytes free, but the 2 ranks on it need 101; try more GPUs, or --backend auto");
  }
}

TEST(CheckRoom, SumsDoNotWrap) {
  const DevicePlacement mine{.identity = 7, .free_bytes = 100, .total_bytes = 120};
  EXPECT_THROW(check_room(mine, std::array<DeviceNeed, 2>{{{7, UINT64_MAX}, {7, 2}}}), ResourceError);
}

/// Only the device of rank 0 is too small, and every rank hears of it.
TEST(CheckDeviceRoom, AllRanksThrowTogether) {
  const Communicator comm = Communicator::duplicate(MPI_COMM_WORLD);
  DevicePlacement mine{.identity = 1, .free_bytes = 100, .total_bytes = 120};
  EXPECT_NO_THROW(check_device_room(comm, mine, 100 / static_cast<std::uint64_t>(comm.size())));
  mine.identity = static_cast<std::uint64_t>(comm.rank());
  EXPECT_THROW(check_device_room(comm, mine, comm.rank() == 0 ? 101 : 100), ResourceError);
}

}  // namespace
}  // namespace annulus
