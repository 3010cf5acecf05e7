/// Blocks and gradients reach the right ranks with the right bits, whatever the exchange and the timing.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/exchange/exchange.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>

#include "kernels/base/error.hpp"
#include "runtime/comm/shared_window.hpp"
#include "runtime/device/aware_mover.hpp"
#include "runtime/device/device_carrier.hpp"
#include "runtime/device/staged_mover.hpp"
#include "tests/support/emulated_device.hpp"

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

/// Blocks of two heads, in granules of four rows: owner 0, 3, ... have none. From the second hop on only part of a block
/// travels, from the third one row less than half of that.
struct Blocks {
  static std::int64_t all(int owner) { return owner % 3 * 500; }
  static std::int64_t rows(int owner, int hop) {
    return hop == 0 ? all(owner) : hop == 1 ? all(owner) - owner % 2 * (all(owner) / 16 * 4) : all(owner) / 8 * 4;
  }
};
constexpr std::int64_t width = 12;  // gradients of a row of K or V

PassSizes sizes_for(const RingSchedule& ring) {
  return {.rows = Blocks::all(ring.rank),
          .travel = travel_plan(ring, Blocks::rows),
          .block = {.heads = 2, .k_bytes = 16, .v_bytes = 24, .granule = 4},
          .gradient = {.heads = 2, .k_bytes = 4 * width, .v_bytes = 4 * width},
          .key_tile = 24,
          .home_parts = 8};
}

/// What owners write to their blocks and ranks to their shares, by (head, K or V, row): whoever confuses rows is found out.
/// Of another pass, too.
std::byte block_value(int pass, int owner, std::int64_t part, std::int64_t row) {
  return static_cast<std::byte>(pass * 37 + owner * 71 + part * 13 + row * 7 + 1);
}
/// A share whose sum depends on the order of addition.
float share_value(int rank, int owner, std::int64_t part, std::int64_t row) {
  return std::sin(static_cast<float>(rank * 31 + owner * 17 + part * 5 + row)) * std::pow(10.0F, static_cast<float>(rank % 5));
}
bool sees_nothing(int rank, int owner) { return (owner + rank) % 4 == 3; }

/// Calls visit(part, row, offset) for every row of an array of `rows`.
template <class Visit>
void each_row(const kernels::RowArray& array, std::int64_t rows, Visit&& visit) {
  std::int64_t offset = 0;
  for (std::int64_t part = 0; part < 2 * array.heads; ++part) {
    const std::int64_t bytes = part % 2 == 0 ? array.k_bytes : array.v_bytes;
    for (std::int64_t row = 0; row < rows; ++row) visit(part, row, offset + row * bytes);
    offset += round_up(rows, array.granule) * bytes;
  }
}

/// One pass; returns this rank's summed gradients, none if it is a forward one. Tokens of gradients would wait for others
/// where blocks alone must.
std::vector<float> run_pass(Exchange& exchange, const Communicator& comm, bool backward, Jitter jitter) {
  static int pass = 0;
  ++pass;
  const RingSchedule& ring = exchange.ring();
  PassSizes sizes = sizes_for(ring);
  if (!backward) sizes.gradient = {};
  exchange.begin(sizes);
  jitter();
  std::byte* const own = exchange.own_block();
  each_row(sizes.block, sizes.rows, [&](std::int64_t part, std::int64_t row, std::int64_t offset) {
    own[offset] = block_value(pass, ring.rank, part, row);
  });
  exchange.packed();
  comm.barrier();
  exchange.open();
  for (int step = 0; step < ring.size; ++step) {
    const int owner = ring.owner_at(step);
    jitter();
    exchange.start(step);
    jitter();
    EXPECT_EQ(exchange.rows(step), Blocks::rows(owner, ring.hop_of(step)));
    std::int64_t wrong = 0;
    each_row(sizes.block, exchange.rows(step), [&](std::int64_t part, std::int64_t row, std::int64_t offset) {
      wrong += exchange.block(step)[offset] != block_value(pass, owner, part, row);
    });
    EXPECT_EQ(wrong, 0) << "rows of the block of rank " << owner << " at step " << step;
    exchange.poll();
    const bool empty = sees_nothing(ring.rank, owner);
    const std::vector<BlockPart> parts = backward ? exchange.parts(step) : std::vector<BlockPart>{};
    for (const BlockPart& rows : parts) {
      auto* const share = reinterpret_cast<float*>(exchange.share(step));
      each_row(sizes.gradient, exchange.rows(step), [&](std::int64_t part, std::int64_t row, std::int64_t offset) {
        if (empty || row < rows.begin || row >= rows.end) return;
        std::fill_n(share + offset / 4, width, share_value(ring.rank, owner, part, row));
      });
      jitter();
      exchange.add_share(step, rows, empty);
      exchange.poll();
    }
    jitter();
    exchange.finish(step);
  }
  if (!backward) return {};
  const auto* const home = reinterpret_cast<const float*>(exchange.home());
  return {home, home + sizes.gradient.bytes(sizes.rows) / 4};
}

/// The sum in the order in which ranks meet the owner's block: its group first, the owner before those below it.
std::vector<float> expected_sum(const RingSchedule& ring) {
  const PassSizes sizes = sizes_for(ring);
  std::vector<float> sum(sizes.gradient.bytes(sizes.rows) / 4, 0.0F);
  for (int hop = 0; hop < ring.groups(); ++hop) {
    const int group = (ring.group() + ring.groups() - hop) % ring.groups();
    for (int turn = 0; turn < ring.group_size; ++turn) {
      const int rank = ring.rank_at(group, (ring.member() + ring.group_size - turn) % ring.group_size);
      if (sees_nothing(rank, ring.rank)) continue;
      each_row(sizes.gradient, sizes.rows, [&](std::int64_t part, std::int64_t row, std::int64_t offset) {
        if (row >= Blocks::rows(ring.rank, hop)) return;
        for (std::int64_t i = 0; i < width; ++i) {
          sum[static_cast<std::size_t>(offset / 4 + i)] += share_value(rank, ring.rank, part, row);
        }
      });
    }
  }
  return sum;
}

/// An exchange by name, and with groups of two or three where the ranks can form them, or by a mover between devices.
struct Way {
  ExchangeKind kind;
  int group_size = 0;
  std::unique_ptr<Mover> (*mover)(kernels::cuda::Device&, const Communicator&) = nullptr;
  const char* mover_name = "";
};

/// Chunks end inside rows and runs.
std::unique_ptr<Mover> short_chunks(kernels::cuda::Device& device, const Communicator& comm) {
  return staged_mover(device, comm, {.chunk_bytes = 1000, .depth = 2});
}
std::unique_ptr<Mover> one_chunk(kernels::cuda::Device& device, const Communicator& comm) {
  return staged_mover(device, comm);
}

class ExchangeTest : public testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    const int group_size = GetParam().group_size;
    const int together = comm_.node().size();
    if (GetParam().kind == ExchangeKind::shared && together < comm_.size()) GTEST_SKIP() << "on several nodes";
    if (group_size > 0 && together % group_size != 0) GTEST_SKIP() << "no groups of " << group_size;
    std::function<Carriers()> device;
    if (GetParam().mover != nullptr) {
      device = [this] {
        kernels::cuda::Device& emulated = test::emulated_device();
        return device_carriers(emulated, GetParam().mover(emulated, comm_));
      };
    }
    exchange_ = make_exchange(GetParam().kind, comm_, 1 << 20, &resolved_, group_size, device);
  }
  const Communicator comm_ = Communicator::duplicate(MPI_COMM_WORLD);
  ExchangeKind resolved_{};
  std::unique_ptr<Exchange> exchange_;
};

TEST_P(ExchangeTest, DeliversWhatIsStillSeenAndSumsGradientsInRingOrderWhateverTheTiming) {
  EXPECT_EQ(resolved_, GetParam().kind);
  EXPECT_EQ(exchange_->ring().group_size, GetParam().mover != nullptr || resolved_ == ExchangeKind::messages ? 1
                                          : resolved_ == ExchangeKind::shared ? comm_.size()
                                                                              : GetParam().group_size);
  const std::vector<float> expected = expected_sum(exchange_->ring());
  for (const unsigned longest_us : {0U, 0U, 5000U, 20000U}) {
    EXPECT_EQ(run_pass(*exchange_, comm_, true, Jitter(comm_.rank(), longest_us)), expected);
    run_pass(*exchange_, comm_, false, Jitter(comm_.rank(), longest_us));
  }
}

/// Blocks and sums of all ranks together, by what Blocks says: what crosses from group to group.
TEST_P(ExchangeTest, CountsWhatItSends) {
  run_pass(*exchange_, comm_, true, Jitter(comm_.rank(), 0));
  const RingSchedule& ring = exchange_->ring();
  const PassSizes sizes = sizes_for(ring);
  std::uint64_t expected = 0;
  for (int owner = 0; owner < ring.size; ++owner) {
    for (int hop = 0; hop < ring.groups() && ring.groups() > 1; ++hop) {
      const std::int64_t rows = Blocks::rows(owner, hop);
      const std::int64_t on = Blocks::rows(owner, ring.is_last_hop(hop) ? hop : hop + 1);
      if (!ring.is_last_hop(hop)) expected += sizes.block.bytes(on);
      expected += sizes.gradient.bytes(on) + (hop > 0 ? sizes.gradient.bytes(rows - on) : 0);
    }
  }
  std::size_t tokens = 0;
  for (int step = 0; step < ring.size && ring.group_size > 1; ++step) tokens += exchange_->parts(step).size();
  expected += tokens * static_cast<std::uint64_t>(ring.size);
  std::array<std::uint64_t, 1> sent{exchange_->traffic().bytes};
  comm_.sum(sent);
  EXPECT_EQ(sent[0], expected);
}

INSTANTIATE_TEST_SUITE_P(All, ExchangeTest,
                         testing::Values(Way{ExchangeKind::messages}, Way{ExchangeKind::shared}, Way{ExchangeKind::nodes, 1},
                                         Way{ExchangeKind::nodes, 2}, Way{ExchangeKind::nodes, 3}, Way{ExchangeKind::nodes, 4},
                                         Way{ExchangeKind::device, 0, short_chunks, "ShortChunks"},
                                         Way{ExchangeKind::device, 0, one_chunk, "OneChunk"},
                                         Way{ExchangeKind::device, 0, aware_mover, "CudaAware"}),
                         [](const auto& test) {
                           const int group_size = test.param.group_size;
                           return std::string(name(test.param.kind)) + (group_size > 0 ? std::to_string(group_size) : "") +
                                  test.param.mover_name;
                         });

TEST(MakeExchange, ChoosesMessagesWhereSharedMemoryIsTooSmallAndRefusesDevicesWhereThereAreNone) {
  const Communicator comm = Communicator::duplicate(MPI_COMM_WORLD);
  ExchangeKind resolved{};
  make_exchange(ExchangeKind::automatic, comm, std::uint64_t{1} << 50, &resolved);
  EXPECT_EQ(resolved, ExchangeKind::messages);
  make_exchange(ExchangeKind::automatic, comm, 1000, &resolved);
  const int together = comm.node().size();
  const ExchangeKind best = together == comm.size() ? ExchangeKind::shared : together > 1 ? ExchangeKind::nodes : ExchangeKind::messages;
  EXPECT_EQ(resolved, best);
  EXPECT_THROW(make_exchange(ExchangeKind::device, comm, 1000, &resolved), UsageError);
}

TEST(MakeExchange, AsksSharedMemoryForOneSlotPerRankOfOneNode) {
  const Communicator comm = Communicator::duplicate(MPI_COMM_WORLD);
  if (comm.node().size() < comm.size()) GTEST_SKIP() << "on several nodes";
  const std::uint64_t share = shared_memory_free() / static_cast<std::uint64_t>(comm.size());
  for (const auto& [slot_bytes, kind] : {std::pair{share / 10 * 9, ExchangeKind::shared}, {share / 10 * 11, ExchangeKind::messages}}) {
    ExchangeKind resolved{};
    make_exchange(ExchangeKind::automatic, comm, slot_bytes, &resolved);
    EXPECT_EQ(resolved, kind) << slot_bytes << " bytes";
  }
}

TEST(MakeExchange, RefusesGroupsOfSeveralSizes) {
  const Communicator comm = Communicator::duplicate(MPI_COMM_WORLD);
  ExchangeKind resolved{};
  if (comm.size() < 3 || comm.size() % 2 == 0) GTEST_SKIP() << "groups of two leave nobody alone";
  EXPECT_THROW(make_exchange(ExchangeKind::nodes, comm, 1000, &resolved, 2), UsageError);
}

}  // namespace
}  // namespace annulus
