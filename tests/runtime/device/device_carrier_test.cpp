/// Blocks go round from device to device unharmed, by each mover, whichever line of the device is late.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/device/device_carrier.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "runtime/device/aware_mover.hpp"
#include "runtime/device/staged_mover.hpp"
#include "tests/support/emulated_device.hpp"

namespace annulus {
namespace {

using kernels::ByteRun;
using kernels::cuda::Line;
using test::emulated_device;

constexpr std::int64_t half = 5000;  ///< bytes of a block that travel as one journey
constexpr int hops = 5;

std::byte value(int owner, std::int64_t at) { return static_cast<std::byte>(owner * 71 + at * 7 + at / 256 + 1); }

/// Chunks end inside runs; there are more of them than may be under way.
std::unique_ptr<Mover> short_chunks(const Communicator& comm) {
  return staged_mover(emulated_device(), comm, {.chunk_bytes = 600, .depth = 2});
}
std::unique_ptr<Mover> one_chunk(const Communicator& comm) { return staged_mover(emulated_device(), comm); }
std::unique_ptr<Mover> cuda_aware(const Communicator& comm) { return aware_mover(emulated_device(), comm); }

using Make = std::unique_ptr<Mover> (*)(const Communicator&);

class DeviceCarrierTest : public testing::TestWithParam<Make> {
 protected:
  void TearDown() override { emulated_device().set_late(std::nullopt); }
  const Communicator comm_ = Communicator::duplicate(MPI_COMM_WORLD);
};

/// One block goes round and is read in each hop, by kernels that come late as anything else may: what they read, hop by hop.
std::vector<std::byte> read_on_the_way(Carrier& carrier, const Communicator& comm) {
  const std::uint64_t bytes = 2 * half;
  std::array<Room, 2> slots{carrier.allocate(bytes), carrier.allocate(bytes)};
  const Room read = carrier.allocate(hops * bytes);
  std::byte* const own = carrier.view(slots[0].get(), bytes);
  for (std::int64_t at = 0; at < 2 * half; ++at) own[at] = value(comm.rank(), at);
  carrier.push(slots[0].get(), bytes);
  const int next = (comm.rank() + 1) % comm.size();
  const int prev = (comm.rank() + comm.size() - 1) % comm.size();
  // what leaves in two runs arrives in one, and the other way round
  const std::array<ByteRun, 1> whole{{{0, half}}};
  const std::array<ByteRun, 2> cut{{{half, 700}, {half + 700, half - 700}}};
  const std::array<ByteRun, 2> first{{{0, 300}, {300, half - 300}}};
  const std::array<ByteRun, 1> second{{{half, half}}};
  for (int hop = 0; hop < hops; ++hop) {
    emulated_device().copy(Line::kernels, read.get() + hop * 2 * half, slots[0].get(), 2 * half);
    std::array<Journey, 4> journeys;
    carrier.together([&] {
      journeys[0] = carrier.receive(slots[1].get(), first, next, 1);
      journeys[1] = carrier.receive(slots[1].get(), cut, next, 1);
      journeys[2] = carrier.send(slots[0].get(), whole, prev, 1);
      journeys[3] = carrier.send(slots[0].get(), second, prev, 1);
    });
    for (Journey& journey : journeys) journey.wait();
    carrier.landed();
    std::swap(slots[0], slots[1]);
  }
  const std::byte* const host = carrier.pull(read.get(), hops * bytes);
  return {host, host + hops * bytes};
}

TEST_P(DeviceCarrierTest, BlocksAreReadWhereTheyLandWhateverComesLate) {
  std::vector<std::byte> expected;
  for (int hop = 0; hop < hops; ++hop) {
    for (std::int64_t at = 0; at < 2 * half; ++at) expected.push_back(value((comm_.rank() + hop) % comm_.size(), at));
  }
  const Carriers carriers = device_carriers(emulated_device(), GetParam()(comm_));
  EXPECT_TRUE(read_on_the_way(*carriers.blocks, comm_) == expected) << "no line late";
  for (const Line line : kernels::cuda::all_lines) {
    emulated_device().set_late(line);
    EXPECT_TRUE(read_on_the_way(*carriers.blocks, comm_) == expected) << "late: line " << static_cast<int>(line);
    emulated_device().set_prompt(line);
    EXPECT_TRUE(read_on_the_way(*carriers.blocks, comm_) == expected) << "late but for line " << static_cast<int>(line);
    emulated_device().set_late(std::nullopt);
  }
}

/// Kernels write the next share where the last one was, the adds being late.
TEST_P(DeviceCarrierTest, SharesAreAddedBeforeTheNextOneIsWritten) {
  test::EmulatedDevice& device = emulated_device();
  const Carriers carriers = device_carriers(device, GetParam()(comm_));
  Carrier& sums = *carriers.sums;
  constexpr std::uint64_t bytes = 4 * sizeof(float);
  const std::array<ByteRun, 1> all{{{0, bytes}}};
  const std::array<Room, 2> terms{sums.allocate(bytes), sums.allocate(bytes)};
  const Room sum = sums.allocate(bytes);
  const Room share = sums.allocate(bytes);
  for (const float term : {1.0F, 2.0F}) {
    std::byte* const room = terms[term == 1.0F ? 0 : 1].get();
    std::fill_n(reinterpret_cast<float*>(sums.view(room, bytes)), 4, term);
    sums.push(room, bytes);
  }
  kernels::cuda::DeviceEvent event(device);
  device.set_prompt(Line::kernels);
  sums.clear(sum.get(), all);
  for (const Room& term : terms) {
    device.copy(Line::kernels, share.get(), term.get(), bytes);
    event.record(Line::kernels);
    event.hold(Line::sums_out);
    sums.add(DType::f32, sum.get(), share.get(), all);
  }
  EXPECT_EQ(*reinterpret_cast<const float*>(sums.pull(sum.get(), bytes)), 3);
}

/// A journey to oneself: both ends are over before their memory goes.
TEST_P(DeviceCarrierTest, CountsBytesAndMessages) {
  const Carriers carriers = device_carriers(emulated_device(), GetParam()(comm_));
  const Room room = carriers.blocks->allocate(half);
  const std::array<ByteRun, 1> runs{{{0, 1000}}};
  const Journey in = carriers.blocks->receive(room.get() + 1000, runs, comm_.rank(), 1);
  const Journey out = carriers.blocks->send(room.get(), runs, comm_.rank(), 1);
  EXPECT_EQ(out.bytes(), 1000U);
  EXPECT_EQ(out.messages(), GetParam() == short_chunks ? 2U : 1U);
}

constexpr std::array<const char*, 3> names{"ShortChunks", "OneChunk", "CudaAware"};
INSTANTIATE_TEST_SUITE_P(All, DeviceCarrierTest, testing::Values(short_chunks, one_chunk, cuda_aware),
                         [](const auto& test) { return names[test.index]; });

}  // namespace
}  // namespace annulus
