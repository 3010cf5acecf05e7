/// Frequencies of every interpolation against the formulas as their papers and codes state them.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/rope.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numbers>

#include "kernels/base/error.hpp"

namespace annulus::stack {
namespace {

constexpr double two_pi = 2 * std::numbers::pi;
constexpr RopeSpec linear{.theta = 1e6, .scaling = RopeScaling::linear, .factor = 8};
constexpr RopeSpec ntk{.theta = 10000, .scaling = RopeScaling::ntk, .factor = 4};
constexpr RopeSpec yarn{.theta = 150000, .scaling = RopeScaling::yarn, .factor = 32, .original = 4096};
constexpr RopeSpec llama3{.theta = 500000, .scaling = RopeScaling::llama3, .factor = 8, .original = 8192};

/// The angles at position 1 are the frequencies: none is above 1.
struct Angles {
  std::vector<double> frequencies;
  std::vector<double> magnitudes;
};

Angles angles_of(const RopeSpec& spec, std::int64_t head_dim) {
  const Rope rope(spec, head_dim);
  std::vector<double> cosines(static_cast<std::size_t>(rope.half()));
  std::vector<double> sines(cosines.size());
  rope.angles(1, cosines.data(), sines.data());
  Angles found;
  for (std::size_t i = 0; i < sines.size(); ++i) {
    found.frequencies.push_back(std::atan2(sines[i], cosines[i]));
    found.magnitudes.push_back(std::hypot(sines[i], cosines[i]));
  }
  return found;
}

double plain(double theta, std::size_t pair, std::int64_t head_dim) {
  return std::pow(theta, -2 * static_cast<double>(pair) / static_cast<double>(head_dim));
}

using Formula = std::function<double(std::size_t pair, double frequency)>;

void expect_frequencies(const RopeSpec& spec, std::int64_t head_dim, double magnitude, const Formula& formula) {
  const Angles found = angles_of(spec, head_dim);
  ASSERT_EQ(found.frequencies.size(), static_cast<std::size_t>(head_dim / 2));
  for (std::size_t pair = 0; pair < found.frequencies.size(); ++pair) {
    const double expected = formula(pair, plain(spec.theta, pair, head_dim));
    EXPECT_NEAR(found.frequencies[pair] / expected, 1, 1e-12) << name(spec.scaling) << " " << pair;
    EXPECT_NEAR(found.magnitudes[pair], magnitude, 1e-14) << name(spec.scaling) << " " << pair;
  }
}

TEST(RopeScaling, NoneKeepsEveryFrequency) {
  expect_frequencies({.theta = 500}, 48, 1, [](std::size_t, double f) { return f; });
}

TEST(RopeScaling, LinearDividesPositions) {
  expect_frequencies(linear, 256, 1, [](std::size_t, double f) { return f / 8; });
}

TEST(RopeScaling, NtkEnlargesTheta) {
  const double theta = 10000 * std::pow(4.0, 128.0 / 126.0);
  expect_frequencies(ntk, 128, 1, [&](std::size_t pair, double) { return plain(theta, pair, 128); });
  const Angles found = angles_of(ntk, 128);
  EXPECT_NEAR(found.frequencies.front(), 1, 1e-15) << "the fastest pair stays";
  EXPECT_NEAR(found.frequencies.back(), plain(10000, 63, 128) / 4, 1e-18) << "the slowest is interpolated";
}

TEST(RopeScaling, YarnKeepsFastPairsAndInterpolatesSlowOnes) {
  // find_correction_dim of transformers and of jquesnelle/yarn: counted in channels, so twice a pair
  const auto channel = [](double turns) { return 64 * std::log(4096 / (turns * two_pi)) / (2 * std::log(150000.0)); };
  const double low = channel(32);
  const double high = channel(1);
  ASSERT_TRUE(low > 4 && high > low + 4 && high < 28) << "all three parts are there";
  expect_frequencies(yarn, 64, 0.1 * std::log(32.0) + 1, [&](std::size_t pair, double f) {
    const double x = static_cast<double>(pair);
    if (x <= low) return f;
    if (x >= high) return f / 32;
    const double ramp = (x - low) / (high - low);
    return f / 32 * ramp + f * (1 - ramp);
  });
}

TEST(RopeScaling, Llama3KeepsShortWavesAndInterpolatesLongOnes) {
  std::array<int, 3> parts{};
  expect_frequencies(llama3, 128, 1, [&](std::size_t, double f) {
    const double wavelength = two_pi / f;
    if (wavelength < 8192.0 / 4) return ++parts[0], f;
    if (wavelength > 8192.0 / 1) return ++parts[1], f / 8;
    const double smooth = (8192 / wavelength - 1) / (4 - 1);
    return ++parts[2], (1 - smooth) * f / 8 + smooth * f;
  });
  for (const int pairs : parts) EXPECT_GT(pairs, 2);
}

TEST(RopeScaling, IsTheIdentityAtFactorOne) {
  for (RopeSpec spec : {linear, ntk, yarn, llama3}) {
    spec.factor = 1;
    const Angles expected = angles_of({.theta = spec.theta}, 64);
    const Angles found = angles_of(spec, 64);
    EXPECT_EQ(found.frequencies, expected.frequencies) << name(spec.scaling);
    EXPECT_EQ(found.magnitudes, expected.magnitudes) << name(spec.scaling);
  }
}

TEST(RopeScaling, TakesHeadsOfAnySizeAndContextsOfAnyLength) {
  for (RopeSpec spec : {linear, ntk, yarn, llama3}) {
    for (const std::int64_t original : {1, 7, 1 << 30}) {
      spec.original = original;
      for (const std::int64_t head_dim : {1, 2, 3, 4, 255}) {
        for (const double f : angles_of(spec, head_dim).frequencies) EXPECT_TRUE(f > 0 && f <= 1) << name(spec.scaling);
      }
    }
  }
}

TEST(RopeScaling, HasANameForEach) {
  for (const RopeScaling scaling :
       {RopeScaling::none, RopeScaling::linear, RopeScaling::ntk, RopeScaling::yarn, RopeScaling::llama3}) {
    EXPECT_EQ(parse_rope_scaling(name(scaling)), scaling);
  }
  EXPECT_EQ(name(RopeScaling::yarn), "yarn");
  EXPECT_FALSE(parse_rope_scaling("Linear"));
}

TEST(RopeScaling, RefusesNumbersThatMakeNoAngles) {
  const std::vector<std::function<void(RopeSpec&)>> changes{
      [](RopeSpec& s) { s.theta = 1; },           [](RopeSpec& s) { s.theta = std::nan(""); },
      [](RopeSpec& s) { s.theta = INFINITY; },    [](RopeSpec& s) { s.factor = 0.5; },
      [](RopeSpec& s) { s.factor = std::nan(""); }, [](RopeSpec& s) { s.original = 0; },
      [](RopeSpec& s) { s.beta_slow = 32; },      [](RopeSpec& s) { s.beta_slow = 0; },
      [](RopeSpec& s) { s.low_freq_factor = 4; }, [](RopeSpec& s) { s.scaling = RopeScaling::none; }};
  EXPECT_NO_THROW(check(yarn));
  for (std::size_t i = 0; i < changes.size(); ++i) {
    RopeSpec spec = yarn;
    changes[i](spec);
    EXPECT_THROW(check(spec), UsageError) << "change " << i;
  }
}

}  // namespace
}  // namespace annulus::stack
