/// Blocks and gradients reach the right ranks with the right bits, whatever the exchange and the timing.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/exchange/exchange.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "kernels/base/error.hpp"

namespace annulus {
namespace {

/// Waits 0 to `longest_us`: ranks reach every point of the ring in another order each time.
class Jitter {
 public:
  Jitter(int rank, unsigned longest_us) : draw_(static_cast<unsigned>(rank) + std::random_device{}()), longest_(longest_us) {}
  void operator()() {
    if (longest_ > 0) usleep(static_cast<useconds_t>(draw_() % longest_));
  }

 private:
  std::mt19937 draw_;
  unsigned longest_;
};

PassSizes uneven_sizes(int ranks) {
  PassSizes sizes;
  for (int owner = 0; owner < ranks; ++owner) {
    sizes.block_bytes.push_back(static_cast<std::uint64_t>(owner % 3) * 40000);  // owner 0, 3, ... have nothing
    sizes.gradient_elements.push_back(owner % 3 * 10000);
  }
  return sizes;
}

/// A share whose sum depends on the order of addition.
float share_value(int rank, int owner, std::int64_t i) {
  return std::sin(static_cast<float>(rank * 31 + owner * 17 + i % 97)) * std::pow(10.0F, static_cast<float>(rank % 5));
}

void expect_block(const std::byte* block, std::uint64_t bytes, int owner) {
  for (std::uint64_t i = 0; i < bytes; ++i) ASSERT_EQ(block[i], static_cast<std::byte>(owner + 1)) << "byte " << i;
}

/// One pass; returns this rank's summed gradients.
std::vector<float> run_pass(Exchange& exchange, const Communicator& comm, const PassSizes& sizes, Jitter jitter) {
  const RingSchedule ring{comm.rank(), comm.size()};
  const auto own = static_cast<std::size_t>(ring.rank);
  exchange.begin(sizes);
  jitter();
  std::memset(exchange.own_block(), ring.rank + 1, sizes.block_bytes[own]);
  comm.barrier();
  exchange.open();
  for (int step = 0; step < ring.size; ++step) {
    const int owner = ring.owner_at(step);
    jitter();
    exchange.start(step);
    jitter();
    expect_block(exchange.block(step), sizes.block_bytes[static_cast<std::size_t>(owner)], owner);
    exchange.poll();
    const bool empty = (owner + ring.rank) % 4 == 3;
    auto* share = reinterpret_cast<float*>(exchange.share(step));
    for (std::int64_t i = 0; !empty && i < sizes.gradient_elements[static_cast<std::size_t>(owner)]; ++i) {
      share[i] = share_value(ring.rank, owner, i);
    }
    exchange.add_share(step, empty);
    jitter();
    exchange.finish(step);
  }
  const auto* home = reinterpret_cast<const float*>(exchange.home());
  return {home, home + sizes.gradient_elements[own]};
}

/// The sum in ring order: the owner first, then owner - 1, owner - 2, ...
std::vector<float> expected_sum(int owner, int ranks, std::int64_t elements) {
  std::vector<float> sum(static_cast<std::size_t>(elements), 0.0F);
  for (int step = 0; step < ranks; ++step) {
    const int rank = (owner + ranks - step) % ranks;
    if ((owner + rank) % 4 == 3) continue;
    for (std::int64_t i = 0; i < elements; ++i) sum[static_cast<std::size_t>(i)] += share_value(rank, owner, i);
  }
  return sum;
}

class ExchangeTest : public testing::TestWithParam<ExchangeKind> {};

TEST_P(ExchangeTest, DeliversEveryBlockAndSumsGradientsInRingOrderWhateverTheTiming) {
  const Communicator comm = Communicator::duplicate(MPI_COMM_WORLD);
  const PassSizes sizes = uneven_sizes(comm.size());
  ExchangeKind resolved{};
  const auto exchange = make_exchange(GetParam(), comm, {comm.rank(), comm.size()}, 1 << 20, &resolved);
  EXPECT_EQ(resolved, GetParam());
  const std::int64_t elements = sizes.gradient_elements[static_cast<std::size_t>(comm.rank())];
  for (const unsigned longest_us : {0U, 0U, 5000U, 20000U}) {
    const auto sum = run_pass(*exchange, comm, sizes, Jitter(comm.rank(), longest_us));
    const auto expected = expected_sum(comm.rank(), comm.size(), elements);
    EXPECT_TRUE(std::equal(sum.begin(), sum.end(), expected.begin(), expected.end()));
  }
}

TEST_P(ExchangeTest, CountsWhatItSends) {
  const Communicator comm = Communicator::duplicate(MPI_COMM_WORLD);
  PassSizes sizes;
  sizes.block_bytes.assign(static_cast<std::size_t>(comm.size()), 5000);
  sizes.gradient_elements.assign(static_cast<std::size_t>(comm.size()), 100);
  ExchangeKind resolved{};
  const auto exchange = make_exchange(GetParam(), comm, {comm.rank(), comm.size()}, 1 << 20, &resolved);
  run_pass(*exchange, comm, sizes, Jitter(comm.rank(), 0));
  const auto hops = static_cast<std::uint64_t>(comm.size() - 1);
  const std::uint64_t homing = comm.size() > 1 ? 1 : 0;
  if (GetParam() == ExchangeKind::messages) {
    EXPECT_EQ(exchange->traffic().messages, 2 * hops + homing);
    EXPECT_EQ(exchange->traffic().bytes, hops * 5000 + (hops + homing) * 400);
  } else {
    EXPECT_EQ(exchange->traffic().messages, hops + homing);  // tokens only
    EXPECT_EQ(exchange->traffic().bytes, hops + homing);
  }
}

INSTANTIATE_TEST_SUITE_P(All, ExchangeTest, testing::Values(ExchangeKind::messages, ExchangeKind::shared),
                         [](const auto& test) { return std::string(name(test.param)); });

TEST(MakeExchange, ChoosesMessagesWhereSharedMemoryIsTooSmallAndRefusesWhatIsNotBuilt) {
  const Communicator comm = Communicator::duplicate(MPI_COMM_WORLD);
  const RingSchedule ring{comm.rank(), comm.size()};
  ExchangeKind resolved{};
  make_exchange(ExchangeKind::automatic, comm, ring, std::uint64_t{1} << 50, &resolved);
  EXPECT_EQ(resolved, ExchangeKind::messages);
  make_exchange(ExchangeKind::automatic, comm, ring, 1000, &resolved);
  EXPECT_EQ(resolved, ExchangeKind::shared);
  EXPECT_THROW(make_exchange(ExchangeKind::device, comm, ring, 1000, &resolved), UsageError);
}

}  // namespace
}  // namespace annulus
