/// SIMD rows against the reference row at the edges of their tiles, and the same bits whatever the number of workers.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/kernels/simd_case.hpp"
#include "tests/support/compare.hpp"

namespace annulus::test {
namespace {

void expect_close(const SimdResult& got, const SimdResult& want, double tolerance) {
  EXPECT_LE(relative_error(got.out, want.out), tolerance) << "out";
  EXPECT_LE(relative_error(got.lse, want.lse), tolerance) << "lse";
  EXPECT_LE(relative_error(got.dq, want.dq), tolerance) << "dq";
  EXPECT_LE(relative_error(got.dk, want.dk), tolerance) << "dk";
  EXPECT_LE(relative_error(got.dv, want.dv), tolerance) << "dv";
  EXPECT_LE(relative_error(got.dsink, want.dsink), tolerance) << "dsink";
}

void check_against_reference(const SimdCase& c, double tolerance = 1e-5) {
  const SimdResult want = SimdRun(c, kernels::reference_table(), 2).run();
  for (const kernels::KernelTable* row : simd_rows()) {
    SCOPED_TRACE(std::string(row->name) + ": " + describe(c));
    // Products of bf16 pairs round p and ds to 2^-9 relative; the suite of all backends judges that more sharply.
    const bool rounds = row->name == "avx512-bf16" && c.dtype == DType::bf16;
    expect_close(SimdRun(c, *row, 2).run(), want, rounds ? 0x1p-7 : tolerance);
  }
}

TEST(SimdAttention, AgreesAtEveryHeadDim) {
  for (const std::int64_t head_dim :
       {1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 40, 64, 72, 96, 100, 128, 129, 192, 255, 256}) {
    for (const DType dtype : {DType::f32, DType::bf16}) check_against_reference({.head_dim = head_dim, .dtype = dtype});
  }
}

TEST(SimdAttention, AgreesAtTheEdgesOfTiles) {
  for (const std::int64_t q_rows : {0, 1, 11, 12, 13, 96, 97, 193}) {
    for (const std::int64_t keys : {1, 31, 32, 33, 191, 192, 193, 257, 400}) {
      for (const DType dtype : {DType::f32, DType::bf16}) {
        check_against_reference({.q_rows = q_rows, .block_rows = {keys}, .heads = 1, .head_dim = 20, .dtype = dtype});
      }
    }
  }
}

TEST(SimdAttention, AgreesForEveryMaskAndElementType) {
  for (const MaskKind mask :
       {MaskKind::full, MaskKind::causal, MaskKind::window, MaskKind::two_spans, MaskKind::strided}) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      check_against_reference({.batch = 2,
                               .q_rows = 300,
                               .block_rows = {130, 0, 270},
                               .heads = 4,
                               .kv_heads = 2,
                               .head_dim = 24,
                               .dtype = dtype,
                               .mask = mask});
    }
  }
}

TEST(SimdAttention, AgreesForEveryScoreRule) {
  for (const double scale : {0.125, -0.125, 0.0}) {
    for (const double softcap : {0.0, 0.7}) {
      for (const bool extra : {false, true}) {
        check_against_reference({.q_rows = 100,
                                 .block_rows = {220, 50},
                                 .head_dim = 24,
                                 .softmax_scale = scale,
                                 .softcap = softcap,
                                 .alibi = extra,
                                 .sink = extra});
      }
    }
  }
  check_against_reference({.mask = MaskKind::window, .sink = true});
}

TEST(SimdAttention, StandsLogitsOfThirtyThousand) {
  const SimdCase c{.q_rows = 40, .block_rows = {40, 40, 40}, .head_dim = 16, .mask = MaskKind::full, .q_scale = 2e4};
  check_against_reference(c, f32_tolerance(3e4));
}

TEST(SimdAttention, GivesTheSameBitsForAnyNumberOfWorkers) {
  for (const kernels::KernelTable* row : simd_rows()) {
    for (const MaskKind mask : {MaskKind::full, MaskKind::causal, MaskKind::strided}) {
      const SimdCase c{.q_rows = 500,
                       .block_rows = {300, 450},
                       .heads = 4,
                       .kv_heads = 2,
                       .head_dim = 40,
                       .dtype = row->name == "avx512-bf16" ? DType::bf16 : DType::f32,
                       .mask = mask};
      SimdRun alone(c, *row, 1);
      const SimdResult want = alone.run();
      EXPECT_GT(alone.progress_calls(), 0);
      for (const int threads : {2, 3, 5}) {
        SimdRun team(c, *row, threads);
        EXPECT_TRUE(team.run() == want) << row->name << " with " << threads << " workers";
        EXPECT_GE(team.progress_calls(), 0) << "progress was called from another thread";
      }
    }
  }
}

TEST(SimdAttention, RefusesSizesThatDoNotFit) {
  const kernels::KernelTable& row = kernels::simd::portable_table();
  const std::int64_t huge = std::int64_t{1} << 60;
  EXPECT_THROW(row.packed_bytes({1, huge, 8, 64, DType::f32}, kernels::Direction::forward), ResourceError);
  EXPECT_THROW(row.gradient_elements({1, huge, 8, 64, DType::f32}), ResourceError);
  kernels::Problem problem;
  problem.q_rows = huge;
  EXPECT_THROW(row.pass_bytes(problem, kernels::Direction::backward), ResourceError);
  EXPECT_EQ(row.packed_bytes({1, 0, 8, 64, DType::f32}, kernels::Direction::forward), 0U);
}

}  // namespace
}  // namespace annulus::test
