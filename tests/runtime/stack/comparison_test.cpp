/// Where the verdict on sampled rows falls. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/comparison.hpp"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "kernels/base/error.hpp"

namespace annulus::stack {
namespace {

constexpr std::array<Sample, 1> sample{{{0, 5}}};

/// What is said of one row of scale 2, `off` from what is expected, of which a plain computation is off by `plain_off`.
std::string verdict(Stage stage, DType dtype, double off, double plain_off) {
  const std::array<double, 2> expected{1, -2};
  const std::array<double, 2> stored{1 + off, -2};
  const std::array<double, 2> plain{1, -2 + plain_off};
  Comparison comparison(1);
  comparison.add(stage, 0, {stored, expected, plain, expected});
  try {
    (void)comparison.verdict(3, dtype, sample);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::verification);
    return error.what();
  }
  return "";
}

TEST(Comparison, AllowsTwiceThePlainErrorOf16Bits) {
  EXPECT_EQ(verdict(Stage::k, DType::bf16, 0.0199, 0.01), "");
  EXPECT_NE(verdict(Stage::k, DType::bf16, 0.0201, 0.01), "");
  EXPECT_NE(verdict(Stage::k, DType::f32, 0.0199, 0.01), "") << "f32 is not excused";
  EXPECT_EQ(verdict(Stage::k, DType::f32, 1.9e-5, 0), "");
  EXPECT_NE(verdict(Stage::k, DType::f32, 2.1e-5, 0), "");
}

/// Rows whose plain computation is exact by chance: weights are rounded all the same.
TEST(Comparison, AllowsOutOneRoundingOfTheWeights) {
  EXPECT_EQ(verdict(Stage::out, DType::bf16, 1.9 / 256, 0), "");
  EXPECT_TRUE(verdict(Stage::out, DType::bf16, 2.1 / 256, 0).starts_with("layer 3: out of row 5"));
  EXPECT_EQ(verdict(Stage::out, DType::f16, 1.9 / 2048, 0), "");
  EXPECT_NE(verdict(Stage::out, DType::f16, 2.1 / 2048, 0), "");
  EXPECT_NE(verdict(Stage::x, DType::bf16, 1.9 / 256, 0), "") << "what is stored is rounded once by both";
}

}  // namespace
}  // namespace annulus::stack
