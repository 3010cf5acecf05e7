/// Where the verdict on sampled rows falls. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/comparison.hpp"

#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "kernels/base/error.hpp"

namespace annulus::stack {
namespace {

constexpr std::array<Sample, 2> two_rows{{{0, 0}, {0, 5}}};

struct Off {
  double stored = 0;
  double plain = 0;
  double weight_rounding = 0;
  double largest_score = 0;
};

/// What is said of row 5, of scale 2, `off` from what is expected, of which a plain computation is off by `off.plain`. Row 0 is
/// exact, and could be anything by the rounding of its weights.
std::string verdict(Stage stage, DType dtype, const Off& off) {
  const std::array<double, 2> expected{1, -2};
  const std::array<double, 2> stored{1 + off.stored, -2};
  const std::array<double, 2> plain{1, -2 + off.plain};
  Comparison comparison(2);
  comparison.add(stage, 0, {expected, expected, expected, expected, 1000});
  comparison.add(stage, 1, {stored, expected, plain, expected, off.weight_rounding});
  comparison.add_score(1, off.largest_score);
  try {
    (void)comparison.verdict(3, dtype, two_rows);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::verification);
    return error.what();
  }
  return "";
}

/// The verdict on one row of `out` with this error; the plain computation is off by `plain_error`.
void judge(DType dtype, double error, double plain_error) {
  const std::vector<double> expected{4, -2};
  const std::vector<double> stored{4 + error, -2};
  const std::vector<double> plain{4, -2 + plain_error};
  Comparison comparison(1);
  comparison.add(Stage::out, 0, {stored, expected, plain, expected});
  const std::vector<Sample> samples{{1, 17}};
  comparison.verdict(3, dtype, samples);
}

TEST(Comparison, AllowsOneIn1e5OfTheLargestElementInF32) {
  EXPECT_NO_THROW(judge(DType::f32, 3.9e-5, 1));
  EXPECT_THROW(judge(DType::f32, 4.1e-5, 1), Error);
}

TEST(Comparison, AllowsTwiceThePlainErrorIn16Bits) {
  EXPECT_NO_THROW(judge(DType::bf16, 0.019, 0.01));
  EXPECT_THROW(judge(DType::bf16, 0.021, 0.01), Error);
}

TEST(Comparison, NeverExcusesWhatIsNotFinite) {
  constexpr double inf = std::numeric_limits<double>::infinity();
  for (const double bad : {inf, -inf, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_THROW(judge(DType::f32, bad, 0), Error) << bad;
    EXPECT_THROW(judge(DType::f16, bad, 0.01), Error) << bad;
    EXPECT_THROW(judge(DType::f16, bad, bad), Error) << "the plain computation overflows, too";
    EXPECT_THROW(judge(DType::f16, 1, bad), Error) << "an overflow somewhere excuses no error elsewhere";
    EXPECT_NE(verdict(Stage::out, DType::f16, {bad, 0, bad}), "") << "nor one in the values of its own keys";
  }
}

TEST(Comparison, NamesLayerStageRowAndBatch) {
  try {
    judge(DType::f32, 1, 0);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::verification);
    EXPECT_TRUE(std::string(error.what()).starts_with("layer 3: out of row 17 (batch 1) is 1 off")) << error.what();
  }
}

/// A row whose plain computation is exact by chance: its weights are rounded all the same, but not those of row 0.
TEST(Comparison, AllowsOutOneRoundingOfItsOwnWeights) {
  EXPECT_EQ(verdict(Stage::out, DType::bf16, {1.9 / 256, 0, 2}), "");
  EXPECT_TRUE(verdict(Stage::out, DType::bf16, {2.1 / 256, 0, 2}).starts_with("layer 3: out of row 5"));
  EXPECT_NE(verdict(Stage::out, DType::bf16, {1.9 / 256, 0, 0}), "");
  EXPECT_EQ(verdict(Stage::out, DType::f16, {1.9 / 2048, 0, 2}), "");
  EXPECT_NE(verdict(Stage::out, DType::f16, {2.1 / 2048, 0, 2}), "");
  EXPECT_NE(verdict(Stage::out, DType::f32, {1.9 / 256, 0, 2}), "");
  EXPECT_EQ(verdict(Stage::out, DType::bf16, {7.9 / 256, 0, 2, 3}), "") << "a score rounded once, too: 4 roundings of a weight";
  EXPECT_NE(verdict(Stage::out, DType::bf16, {8.1 / 256, 0, 2, 3}), "");
}

/// The sum of the weights of a row with one key and a score near 0 is about 1: its logarithm tells nothing of its rounding.
TEST(Comparison, AllowsLse1e5OfTheSumOfTheWeights) {
  const auto judge_lse = [](double lse, double error) {
    const std::array<double, 1> expected{lse};
    const std::array<double, 1> stored{lse + error};
    Comparison comparison(1);
    comparison.add(Stage::lse, 0, {stored, expected, expected, expected});
    (void)comparison.verdict(0, DType::f32, std::span(two_rows).first(1));
  };
  EXPECT_NO_THROW(judge_lse(0.001, 0.9e-5));
  EXPECT_THROW(judge_lse(0.001, 1.1e-5), Error);
  EXPECT_NO_THROW(judge_lse(-4, 3.9e-5));
  EXPECT_THROW(judge_lse(-4, 4.1e-5), Error);
}

}  // namespace
}  // namespace annulus::stack
