/// Who waits for a rank that computes waits longer than the timeout; the job would end with code 5 if it did not.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/heartbeat.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <span>
#include <thread>

#include "runtime/comm/communicator.hpp"
#include "runtime/comm/vigil.hpp"

namespace annulus {
namespace {

using namespace std::chrono_literals;

constexpr double timeout = 0.6;  ///< seconds
constexpr auto work = 2s;

void compute() {
  const auto end = std::chrono::steady_clock::now() + work;
  while (std::chrono::steady_clock::now() < end) {
    Heartbeat::beat();
    std::this_thread::sleep_for(1ms);
  }
}

class HeartbeatTest : public testing::Test {
 protected:
  HeartbeatTest() : world(Communicator::duplicate(MPI_COMM_WORLD)) { set_comm_timeout(timeout); }
  ~HeartbeatTest() override { set_comm_timeout(default_comm_timeout); }
  Communicator world;
};

TEST_F(HeartbeatTest, OfEachRankIsHeardByAllWhoMeet) {
  for (int worker = 0; worker < world.size(); ++worker) {
    if (world.rank() == worker) compute();
    world.barrier();
  }
}

TEST_F(HeartbeatTest, IsHeardThroughRanksThatWaitThemselves) {
  std::byte token{};
  if (world.rank() == 0) {
    compute();
  } else {  // rank r waits for r - 1
    world.receive({&token, 1}, world.rank() - 1, 0);
  }
  if (world.rank() + 1 < world.size()) world.send({&token, 1}, world.rank() + 1, 0);
}

TEST_F(HeartbeatTest, IsHeardThroughARankOfTwoCommunicators) {
  if (world.size() < 3) GTEST_SKIP() << "needs a rank between two others";
  MPI_Comm near = MPI_COMM_NULL;  // of ranks 0 and 1
  MPI_Comm far = MPI_COMM_NULL;   // of the others and rank 1
  MPI_Comm_split(MPI_COMM_WORLD, world.rank() <= 1 ? 0 : MPI_UNDEFINED, 0, &near);
  MPI_Comm_split(MPI_COMM_WORLD, world.rank() >= 1 ? 0 : MPI_UNDEFINED, 0, &far);
  { const Communicator over = std::move(world); }  // so that no heartbeat joins all ranks
  world = Communicator::duplicate(MPI_COMM_SELF);
  if (near != MPI_COMM_NULL) {
    const Communicator pair = Communicator::duplicate(near);
    if (pair.rank() == 0) compute();
    if (far == MPI_COMM_NULL) pair.barrier();
    if (far != MPI_COMM_NULL) {
      const Communicator rest = Communicator::duplicate(far);
      pair.barrier();
      rest.barrier();
    }
  } else {
    const Communicator rest = Communicator::duplicate(far);
    rest.barrier();
  }
  if (near != MPI_COMM_NULL) MPI_Comm_free(&near);
  if (far != MPI_COMM_NULL) MPI_Comm_free(&far);
}

TEST(CommTimeout, RefusesWhatIsNoTime) {
  for (const double seconds : {-1.0, 1e10, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THROW(set_comm_timeout(seconds), UsageError) << seconds;
  }
  EXPECT_EQ(comm_timeout(), default_comm_timeout);
}

}  // namespace
}  // namespace annulus
