/// Conversions of the 16-bit types: every pattern, and the ties.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/base/dtype.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace annulus {
namespace {

template <class T>
class Narrow : public testing::Test {};
using NarrowTypes = testing::Types<bf16, f16>;
TYPED_TEST_SUITE(Narrow, NarrowTypes);

template <class T>
constexpr int mantissa_bits = 7;
template <>
constexpr int mantissa_bits<f16> = 10;

template <class T>
T pattern(std::uint32_t bits) {
  return T{static_cast<std::uint16_t>(bits)};
}

TYPED_TEST(Narrow, EveryPatternSurvivesTheWayThroughFloat) {
  for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const float wide = to_float(pattern<TypeParam>(bits));
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(to_float(from_float<TypeParam>(wide)))) << bits;
    } else {
      ASSERT_EQ(from_float<TypeParam>(wide).bits, bits);
    }
  }
}

TYPED_TEST(Narrow, PatternsAscendAsTheirValues) {
  for (std::uint32_t bits = 0; !std::isinf(to_float(pattern<TypeParam>(bits))); ++bits) {
    ASSERT_LT(to_float(pattern<TypeParam>(bits)), to_float(pattern<TypeParam>(bits + 1))) << bits;
  }
}

TYPED_TEST(Narrow, HalfWayGoesToTheEvenNeighbour) {
  for (std::uint32_t bits = 0; !std::isinf(to_float(pattern<TypeParam>(bits + 1))); ++bits) {
    const float low = to_float(pattern<TypeParam>(bits));
    const float high = to_float(pattern<TypeParam>(bits + 1));
    const float middle = low + (high - low) / 2;  // exact: one more bit of mantissa, or subnormal in float for bf16
    if (middle == low || middle == high) continue;
    const std::uint32_t even = bits + (bits & 1U);
    ASSERT_EQ(from_float<TypeParam>(middle).bits, even) << bits;
    ASSERT_EQ(from_float<TypeParam>(std::nextafter(middle, 0.F)).bits, bits) << bits;
    ASSERT_EQ(from_float<TypeParam>(std::nextafter(middle, high)).bits, bits + 1) << bits;
    ASSERT_EQ(from_float<TypeParam>(-middle).bits, even | 0x8000U) << bits;
  }
}

TYPED_TEST(Narrow, KnownValues) {
  EXPECT_EQ(to_float(from_float<TypeParam>(1.F)), 1.F);
  EXPECT_EQ(to_float(from_float<TypeParam>(-2.5F)), -2.5F);
  EXPECT_TRUE(std::signbit(to_float(from_float<TypeParam>(-0.F))));
  const float step = std::ldexp(1.F, -mantissa_bits<TypeParam>);
  EXPECT_EQ(to_float(from_float<TypeParam>(1 + step)), 1 + step);
  EXPECT_EQ(to_float(from_float<TypeParam>(1 + step / 2)), 1);
}

TYPED_TEST(Narrow, BeyondTheLargestIsInfinite) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(to_float(from_float<TypeParam>(infinity)), infinity);
  EXPECT_EQ(to_float(from_float<TypeParam>(-infinity)), -infinity);
  EXPECT_EQ(to_float(from_float<TypeParam>(std::numeric_limits<float>::max())), infinity);
}

TEST(F16, LargestAndSmallest) {
  EXPECT_EQ(to_float(f16{0x7bff}), 65504.F);
  EXPECT_EQ(from_float<f16>(65519.99F).bits, 0x7bff);
  EXPECT_EQ(from_float<f16>(65520.F).bits, 0x7c00);
  EXPECT_EQ(to_float(f16{1}), 0x1p-24F);
  EXPECT_EQ(from_float<f16>(0x1p-25F).bits, 0);
  EXPECT_EQ(from_float<f16>(0x1.8p-25F).bits, 1);
}

TEST(DTypeNames, AreReadAsTheyArePrinted) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64})
    EXPECT_EQ(parse_dtype(name(dtype)), dtype);
  EXPECT_EQ(parse_dtype("fp32"), std::nullopt);
  EXPECT_EQ(parse_dtype(""), std::nullopt);
}

TEST(DTypeSizes, AreThoseOfTheTypes) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
    with_dtype(dtype, [dtype](auto element) { EXPECT_EQ(sizeof(element), size_of(dtype)); });
  }
}

}  // namespace
}  // namespace annulus
