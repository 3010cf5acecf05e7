/// Blocks that stay on the device give the bits of blocks that travel in host memory, by every mover, whatever comes late.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <mpi.h>

#include <optional>

#include "tests/runtime/engine/ring_case.hpp"
#include "tests/support/emulated_cuda.hpp"

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

class DeviceRing : public testing::TestWithParam<CudaAware> {
 protected:
  void SetUp() override { emulated_cuda().aware = GetParam(); }
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

/// Each line in turn works as late as events allow.
TEST_P(DeviceRing, WhatComesLateChangesNoBit) {
  RingCase test = base_case(DType::bf16);
  test.layout.kind = LayoutKind::zigzag;
  test.spec.mask.causal = true;
  const RingResult expected = run_by(test, ExchangeKind::messages);
  for (const Line late : all_lines) {
    emulated_device().set_late(late);
    EXPECT_TRUE(same_bits(expected, run_by(test, ExchangeKind::device))) << test.describe() << ", line " << static_cast<int>(late);
  }
}

TEST_P(DeviceRing, AgreesWithTheOracle) {
  RingCase test = base_case(DType::bf16);
  test.layout.kind = LayoutKind::zigzag;
  test.spec.mask.causal = true;
  int rank = 0;
  int ranks = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  const RingError error = judge(test, rank, ranks, run_by(test, ExchangeKind::device));
  EXPECT_LE(error.share, 1) << error.where;
}

TEST_P(DeviceRing, AutoTakesTheDeviceAndSaysHowBlocksMove) {
  RingCase test = base_case(DType::bf16);
  const RingAttention attention(MPI_COMM_WORLD, test.layout, test.spec, test.execution);
  EXPECT_EQ(attention.exchange(), ExchangeKind::device);
  EXPECT_EQ(attention.mover(), GetParam() == CudaAware::yes ? "CUDA-aware MPI" : "staged through pinned memory");
}

INSTANTIATE_TEST_SUITE_P(All, DeviceRing, testing::Values(CudaAware::no, CudaAware::yes),
                         [](const auto& test) { return test.param == CudaAware::yes ? "CudaAware" : "Staged"; });

}  // namespace
}  // namespace annulus::test
