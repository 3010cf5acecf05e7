/// Rotation, norm and projection of single rows against their formulas in long double and against finite differences.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <vector>

#include "kernels/base/workers.hpp"
#include "runtime/stack/projection.hpp"
#include "runtime/stack/rms_norm.hpp"
#include "runtime/stack/rope.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/random_tensors.hpp"

namespace annulus::stack {
namespace {

std::vector<float> random_floats(std::int64_t count, std::uint64_t seed) {
  std::vector<float> found(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    found[static_cast<std::size_t>(i)] = static_cast<float>(test::random_value(seed, test::Role::q, 0, i, 0, 0));
  }
  return found;
}

std::vector<double> as_doubles(const std::vector<float>& values) { return {values.begin(), values.end()}; }

double dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

template <class T>
std::vector<T> rotated(std::vector<T> head, std::int64_t pos) {
  const Rope rope({}, static_cast<std::int64_t>(head.size()));
  std::vector<T> cosines(static_cast<std::size_t>(rope.half()));
  std::vector<T> sines(cosines.size());
  rope.angles(pos, cosines.data(), sines.data());
  rotate(head.data(), rope.half(), cosines.data(), sines.data());
  return head;
}

TEST(Rope, TurnsThePairsOfAHeadByTheirAngles) {
  constexpr std::int64_t pos = 1'000'003;  // f32 angles would be off by 0.06 here
  const std::vector<float> head = random_floats(64, 1);
  std::vector<double> expected(64);
  for (std::size_t i = 0; i < 32; ++i) {
    const long double angle = pos * std::pow(10000.0L, -static_cast<long double>(i) / 32);
    const long double a = head[i];
    const long double b = head[i + 32];
    expected[i] = static_cast<double>(a * std::cos(angle) - b * std::sin(angle));
    expected[i + 32] = static_cast<double>(a * std::sin(angle) + b * std::cos(angle));
  }
  EXPECT_LT(test::relative_error(as_doubles(rotated(head, pos)), expected), 3e-7);
  const std::vector<double> exact = rotated(as_doubles(head), pos);
  EXPECT_LT(test::relative_error(exact, expected), 1e-9);
}

TEST(Rope, MakesProductsDependOnTheDistanceAlone) {
  const std::vector<float> q = random_floats(16, 2);
  const std::vector<float> k = random_floats(16, 3);
  const double near = dot(rotated(q, 9), rotated(k, 4));
  for (const std::int64_t shift : {1L, 1000L, 1'000'000L, 100'000'000L}) {
    EXPECT_NEAR(dot(rotated(q, 9 + shift), rotated(k, 4 + shift)), near, 1e-5) << shift;
  }
  EXPECT_GT(std::abs(dot(rotated(q, 10), rotated(k, 4)) - near), 1e-3);
}

TEST(Rope, KeepsTheLastChannelOfAnOddHead) {
  const std::vector<float> head = random_floats(5, 4);
  const std::vector<float> turned = rotated(head, 7);
  EXPECT_EQ(turned[4], head[4]);
  EXPECT_NE(turned[3], head[3]);
  EXPECT_EQ(rotated(std::vector<float>{2}, 7), std::vector<float>{2});
}

TEST(RmsNorm, BringsRowsToMeanSquareOne) {
  std::vector<float> x = random_floats(3 * 40, 5);
  for (float& value : x) value *= 1000;
  std::vector<float> n(x.size());
  rms_norm(x.data(), 3, 40, n.data());
  for (auto row = n.begin(); row != n.end(); row += 40) {
    const std::vector<float> one(row, row + 40);
    EXPECT_NEAR(dot(one, one) / 40, 1, 1e-6);
  }
  EXPECT_NEAR(n[7] / n[8], x[7] / x[8], 1e-5 * std::abs(x[7] / x[8]));
}

TEST(RmsNorm, LeavesARowOfZerosAtZero) {
  std::vector<float> x(8);
  rms_norm(x.data(), 1, 8, x.data());
  EXPECT_EQ(x, std::vector<float>(8));
}

/// Central differences of `loss` at x: exact to about 1e-6 for the smooth functions here.
std::vector<double> differences(std::vector<float> x, const std::function<double(const std::vector<float>&)>& loss) {
  std::vector<double> slopes;
  for (float& value : x) {
    const float at = value;
    const float above = at + 0x1p-6F;
    const float below = at - 0x1p-6F;
    value = above;
    const double up = loss(x);
    value = below;
    slopes.push_back((up - loss(x)) / static_cast<double>(above - below));
    value = at;
  }
  return slopes;
}

TEST(RmsNorm, AddsItsGradient) {
  const std::vector<float> x = random_floats(2 * 12, 6);
  const std::vector<float> dn = random_floats(2 * 12, 7);
  std::vector<float> dx(x.size(), 2.0F);
  rms_norm_backward(x.data(), dn.data(), 2, 12, dx.data());
  for (float& value : dx) value -= 2;
  const auto loss = [&](const std::vector<float>& input) {
    std::vector<float> n(input.size());
    rms_norm(input.data(), 2, 12, n.data());
    return dot(n, dn);
  };
  EXPECT_LT(test::relative_error(as_doubles(dx), differences(x, loss)), 1e-3);
}

constexpr std::int64_t rows = 5, in = 7, out = 9;

TEST(Projection, MultipliesByTheTransposedWeights) {
  const std::vector<float> x = random_floats(rows * in, 8);
  const std::vector<float> w = random_floats(out * in, 9);
  std::vector<float> y(rows * out);
  project(rows, in, out, x.data(), w.data(), y.data());
  std::vector<double> expected;
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < out; ++column) {
      const std::vector<float> a(x.begin() + row * in, x.begin() + (row + 1) * in);
      const std::vector<float> b(w.begin() + column * in, w.begin() + (column + 1) * in);
      expected.push_back(dot(a, b));
    }
  }
  EXPECT_LT(test::relative_error(as_doubles(y), expected), 1e-6);
}

TEST(Projection, HasTheGradientOfItsInput) {
  const std::vector<float> x = random_floats(rows * in, 10);
  const std::vector<float> w = random_floats(out * in, 11);
  const std::vector<float> dy = random_floats(rows * out, 12);
  std::vector<float> dx(rows * in);
  project_backward(rows, in, out, dy.data(), w.data(), dx.data());
  const auto loss = [&](const std::vector<float>& input) {
    std::vector<float> y(rows * out);
    project(rows, in, out, input.data(), w.data(), y.data());
    return dot(y, dy);
  };
  EXPECT_LT(test::relative_error(as_doubles(dx), differences(x, loss)), 1e-3);
}

TEST(Projection, HasTheSameBitsOnAnyNumberOfThreads) {
  constexpr std::int64_t blocks = 64, wide = 96;
  const std::vector<float> x = random_floats(blocks * rows * wide, 13);
  const std::vector<float> w = random_floats(wide * wide, 14);
  const auto product = [&](int threads) {
    Workers workers(threads);
    std::vector<float> y(x.size());
    workers.for_each(blocks, [&](std::int64_t block, int) {
      project(rows, wide, wide, x.data() + block * rows * wide, w.data(), y.data() + block * rows * wide);
    });
    return y;
  };
  const std::vector<float> alone = product(1);
  for (int repeat = 0; repeat < 20; ++repeat) EXPECT_EQ(product(4), alone) << "two callers shared a buffer of BLAS";
}

/// Addresses of this process, in bytes.
rlim_t address_space() {
  std::ifstream file("/proc/self/statm");
  rlim_t pages = 0;
  file >> pages;
  return pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE));
}

TEST(Projection, FindsItsWorkMemoryMissingBeforeBlasAsksForEver) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer needs addresses without limit";
#endif
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
  rlimit tight = before;
  tight.rlim_cur = address_space() + (rlim_t{64} << 20);
  ASSERT_EQ(setrlimit(RLIMIT_AS, &tight), 0);
  EXPECT_THROW(prepare_projections(1), ResourceError);
  ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
  EXPECT_NO_THROW(prepare_projections(3));
}

}  // namespace
}  // namespace annulus::stack
