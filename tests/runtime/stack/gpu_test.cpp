/// The stack's projections through cuBLAS on a GPU.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "kernels/cuda/matrix_unit.hpp"
#include "tests/runtime/stack/projection_case.hpp"

namespace annulus::stack {
namespace {

constexpr std::int64_t piece = DeviceProjection::piece_rows;

TEST(GpuProjection, MultipliesAsTheProcessorDoes) {
  if (!kernels::cuda::has_cublas()) GTEST_SKIP() << "this build has no cuBLAS";
  for (const Way way : {Way::forward, Way::backward}) {
    for (const std::int64_t rows : {std::int64_t{1}, piece, 2 * piece + 77}) {
      judge_projection(kernels::cuda::cublas_unit(), way, rows, 24, 40);
      judge_projection(kernels::cuda::cublas_unit(), way, rows, 512, 1536);
    }
  }
}

TEST(GpuProjection, RefusesWhatNoGpuHolds) {
  if (!kernels::cuda::has_cublas()) GTEST_SKIP() << "this build has no cuBLAS";
  constexpr std::int64_t far_too_many = std::int64_t{1} << 40;  // of weights: 4 TiB
  EXPECT_THROW(DeviceProjection(kernels::cuda::cublas_unit(), {8, far_too_many, 1, 0}), ResourceError);
}

}  // namespace
}  // namespace annulus::stack
