/// Blocks that stay on the device give the bits of blocks that travel in host memory, by every mover, whatever comes late.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <mpi.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include "kernels/base/error.hpp"
#include "runtime/device/movers.hpp"
#include "tests/runtime/engine/ring_case.hpp"
#include "tests/support/emulated_cuda.hpp"
#include "tests/support/emulated_nccl.hpp"

namespace annulus::test {
namespace {

using kernels::cuda::all_lines;
using kernels::cuda::Line;

RingCase base_case(DType dtype) {
  RingCase test;
  test.spec = {.seq_q = 90, .seq_k = 90, .heads = 2, .kv_heads = 1, .head_dim = 16, .dtype = dtype};
  test.out_dtype = DType::f32;
  test.execution.backend = "cuda";
  test.execution.threads = 1;
  return test;
}

std::vector<LayoutSpec> layouts() { return {{LayoutKind::contiguous}, {LayoutKind::zigzag}, {LayoutKind::striped, 4}}; }

/// Of those, windows may be cheaper without a ring: the same bits then, too.
std::vector<MaskSpec> masks() {
  MaskSpec causal;
  causal.causal = true;
  MaskSpec window;
  window.window_size = {40, 30};
  return {causal, MaskSpec{}, window};
}

RingResult run_by(RingCase test, ExchangeKind exchange) {
  test.execution.exchange = exchange;
  return run_ring(MPI_COMM_WORLD, test);
}

class DeviceRing : public testing::TestWithParam<MoverKind> {
 protected:
  void SetUp() override {
    emulated_cuda().aware = GetParam() == MoverKind::cuda_aware ? CudaAware::yes : CudaAware::no;
    if (GetParam() == MoverKind::nccl) emulated_cuda().identity = static_cast<std::uint64_t>(world_rank()) + 1;
  }
  void TearDown() override {
    emulated_cuda() = {};
    emulated_device().set_late(std::nullopt);
  }
};

TEST_P(DeviceRing, GivesTheBitsOfMessages) {
  for (const LayoutSpec& layout : layouts()) {
    for (const MaskSpec& mask : masks()) {
      RingCase test = base_case(DType::bf16);
      test.layout = layout;
      test.spec.mask = mask;
      EXPECT_TRUE(same_bits(run_by(test, ExchangeKind::messages), run_by(test, ExchangeKind::device))) << test.describe();
    }
  }
}

TEST_P(DeviceRing, GivesTheBitsOfMessagesWithEveryScoreRuleAndType) {
  for (const DType dtype : {DType::f32, DType::f16}) {
    RingCase test = base_case(dtype);
    test.spec.batch = 2;
    test.layout.kind = LayoutKind::zigzag;
    test.spec.mask.causal = true;
    test.spec.heads = 4;
    test.spec.kv_heads = 2;
    test.spec.softcap = 5;
    test.spec.alibi_slopes.assign(4, 0.02F);
    test.spec.sink = true;
    EXPECT_TRUE(same_bits(run_by(test, ExchangeKind::messages), run_by(test, ExchangeKind::device))) << test.describe();
  }
}

/// Of seven tokens some ranks have none.
TEST_P(DeviceRing, RanksWithoutRowsTakePart) {
  for (const LayoutSpec& layout : layouts()) {
    RingCase test = base_case(DType::bf16);
    test.layout = layout;
    test.spec.seq_q = test.spec.seq_k = 4;
    EXPECT_TRUE(same_bits(run_by(test, ExchangeKind::messages), run_by(test, ExchangeKind::device))) << test.describe();
  }
}

/// Each line in turn works as late as events allow, then all others do.
TEST_P(DeviceRing, WhatComesLateChangesNoBit) {
  RingCase test = base_case(DType::bf16);
  test.layout.kind = LayoutKind::zigzag;
  test.spec.mask.causal = true;
  const RingResult expected = run_by(test, ExchangeKind::messages);
  for (const Line late : all_lines) {
    emulated_device().set_late(late);
    EXPECT_TRUE(same_bits(expected, run_by(test, ExchangeKind::device))) << "late: line " << static_cast<int>(late);
    emulated_device().set_prompt(late);
    EXPECT_TRUE(same_bits(expected, run_by(test, ExchangeKind::device))) << "late but for line " << static_cast<int>(late);
  }
}

TEST_P(DeviceRing, AgreesWithTheOracle) {
  RingCase test = base_case(DType::bf16);
  test.layout.kind = LayoutKind::zigzag;
  test.spec.mask.causal = true;
  const RingError error = judge(test, world_rank(), world_size(), run_by(test, ExchangeKind::device));
  EXPECT_LE(error.share, 1) << error.where;
}

TEST_P(DeviceRing, AutoTakesTheDeviceAndSaysHowBlocksMove) {
  RingCase test = base_case(DType::bf16);
  const RingAttention attention(MPI_COMM_WORLD, test.layout, test.spec, test.execution);
  EXPECT_EQ(attention.exchange(), ExchangeKind::device);
  EXPECT_EQ(attention.mover(), name(world_size() > 1 ? GetParam() : MoverKind::staged));
}

constexpr std::array movers{MoverKind::staged, MoverKind::cuda_aware, MoverKind::nccl};
constexpr std::array mover_names{"Staged", "CudaAware", "Nccl"};
INSTANTIATE_TEST_SUITE_P(All, DeviceRing, testing::ValuesIn(movers), [](const auto& test) {
  return mover_names[static_cast<std::size_t>(std::ranges::find(movers, test.param) - movers.begin())];
});

/// The blocks of each hop but the last are one launch, and the sums of each another, the last in parts.
TEST(DeviceRingByNccl, StartsTheMessagesOfAHopTogether) {
  if (world_size() == 1) GTEST_SKIP() << "nothing moves";
  emulated_cuda().identity = static_cast<std::uint64_t>(world_rank()) + 1;
  RingCase test = base_case(DType::bf16);
  const std::int64_t before = emulated_nccl().launches;
  run_by(test, ExchangeKind::device);
  const std::int64_t hops = world_size() - 1;
  EXPECT_GE(emulated_nccl().launches - before, 3 * hops + 1);
  EXPECT_LE(emulated_nccl().launches - before, 3 * hops + 8);
  emulated_cuda() = {};
}

TEST(DeviceRingByNccl, LostPeersEndTheCallWithTheCodeOfCommunication) {
  if (world_size() == 1) GTEST_SKIP() << "nothing moves";
  emulated_cuda().identity = static_cast<std::uint64_t>(world_rank()) + 1;
  emulated_nccl().broken = true;
  try {
    run_by(base_case(DType::bf16), ExchangeKind::device);
    ADD_FAILURE() << "not noticed";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::communication);
    const std::string what = error.what();
    EXPECT_NE(what.find("NCCL failed to connect the ranks (remote error)"), std::string::npos) << what;
  }
  emulated_nccl() = {};
  emulated_cuda() = {};
}

TEST(ChooseMover, RanksThatShareADeviceGoThroughTheHost) {
  const Communicator comm = Communicator::duplicate(MPI_COMM_WORLD);
  EXPECT_EQ(choose_mover(comm, 7), MoverKind::staged);
  const auto own = static_cast<std::uint64_t>(comm.rank());
  EXPECT_EQ(choose_mover(comm, own), comm.size() > 1 ? MoverKind::nccl : MoverKind::staged);
  emulated_cuda().aware = comm.rank() == 0 ? CudaAware::unknown : CudaAware::yes;  // one who does not say so is enough
  EXPECT_NE(choose_mover(comm, own), MoverKind::cuda_aware);
  emulated_cuda() = {};
}

}  // namespace
}  // namespace annulus::test
