/// 2^x by polynomial against 2^x in f64, over all that softmax can ask for.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/exp2_polynomial.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/cuda/config.hpp"

namespace annulus::test {
namespace {

using kernels::cuda::minus_infinity;

/// All that the function asks of a machine.
struct Arithmetic {
  float fma(float a, float b, float c) const { return std::fma(a, b, c); }
  float larger(float a, float b) const { return std::max(a, b); }
};

template <class T>
float power(float x) {
  Arithmetic machine;
  constexpr int degree = kernels::cuda::HopperForwardConfig<T, 64>::polynomial_degree;
  return kernels::cuda::exp2_by_polynomial<degree>(machine, x);
}

/// Over every 13th number, by its bits, from `first` on, away from 0.
template <class T>
double largest_relative_error(float first, float last) {
  double largest = 0;
  const auto end = std::bit_cast<std::uint32_t>(last);
  for (std::uint32_t bits = std::bit_cast<std::uint32_t>(first); bits <= end; bits += 13) {
    const auto x = std::bit_cast<float>(bits);
    largest = std::max(largest, std::abs(power<T>(x) / std::exp2(static_cast<double>(x)) - 1));
  }
  return largest;
}

/// The polynomial of elements of type T, as the forward kernel has it.
template <class T>
class Exp2Polynomial : public testing::Test {};
using Elements = testing::Types<bf16, f16>;
TYPED_TEST_SUITE(Exp2Polynomial, Elements);

/// Measured over all f32 numbers from 2^-24 to 126 and from -2^-24 to -126 (nearer to 0 the power is 1): 1.01349e-4 for bf16,
/// 2.89504e-6 for f16. Half a unit in the last place is 3.9e-3 and 4.9e-4.
TYPED_TEST(Exp2Polynomial, ErrsLessThanRoundingDoes) {
  const double bound = std::is_same_v<TypeParam, bf16> ? 1.0135e-4 : 2.896e-6;
  EXPECT_LE(largest_relative_error<TypeParam>(-0x1p-24F, -126), bound);
  EXPECT_LE(largest_relative_error<TypeParam>(0x1p-24F, 126), bound);
  EXPECT_GE(largest_relative_error<TypeParam>(-1, -2), 0.95 * bound) << "the bound has become too wide";
}

TYPED_TEST(Exp2Polynomial, WholeNumbersAreExact) {
  for (int n = -127; n < 127; ++n) {
    const float want = n == -127 ? 0 : std::ldexp(1.0F, n);
    EXPECT_EQ(power<TypeParam>(static_cast<float>(n)), want) << n;
  }
  for (const float x : {-0.0F, 0x1p-25F, -0x1p-25F}) EXPECT_EQ(power<TypeParam>(x), 1) << x;
}

TYPED_TEST(Exp2Polynomial, WhatIsHiddenCountsNothing) {
  for (const float x : {minus_infinity, std::numeric_limits<float>::lowest(), -1e5F, -128.0F, -127.0F}) {
    EXPECT_EQ(std::bit_cast<std::uint32_t>(power<TypeParam>(x)), 0U) << x;
  }
}

TYPED_TEST(Exp2Polynomial, WhatIsTooSmallIsSmall) {
  for (float x = -127; x < -126; x += 0x1p-12F) {
    EXPECT_GE(power<TypeParam>(x), 0) << x;
    EXPECT_LE(power<TypeParam>(x), 0x1p-126F) << x;
  }
}

/// A maximum is rounded apart from the scores: exponents may lie a little above 0.
TYPED_TEST(Exp2Polynomial, GoesOnBeyondZero) {
  float before = power<TypeParam>(-0x1p-4F);
  for (float x = -0x1p-4F; x < 0x1p-4F; x += 0x1p-12F) {
    EXPECT_GE(power<TypeParam>(x), before) << x;
    before = power<TypeParam>(x);
  }
}

}  // namespace
}  // namespace annulus::test
