/// The tile code of each instruction set on its own: exponentials, tanh, conversions, products; and the packing.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <bit>
#include <array>
#include <cmath>
#include <limits>
#include <random>

#include "kernels/simd/pack.hpp"
#include "kernels/simd/peak.hpp"
#include "tests/kernels/simd_case.hpp"

namespace annulus::test {
namespace {

using kernels::Direction;
using kernels::simd::group_rows;
using kernels::simd::panel_keys;
using kernels::simd::score_stride;
using kernels::simd::TileOps;

constexpr float infinity = std::numeric_limits<float>::infinity();

/// The tile code behind each row that runs here.
std::vector<std::pair<std::string_view, const TileOps*>> tile_rows() {
  std::vector<std::pair<std::string_view, const TileOps*>> rows{{"portable", &kernels::simd::portable_tiles}};
#if defined(__x86_64__)
  if (kernels::simd::avx2_table().unavailable.empty()) rows.emplace_back("avx2", &kernels::simd::avx2_tiles);
  if (kernels::simd::avx512_table().unavailable.empty()) rows.emplace_back("avx512", &kernels::simd::avx512_tiles);
#endif
  return rows;
}

/// 2^(x - shift) as backward computes it, for up to 256 values.
std::vector<float> exp2_of(const TileOps& ops, std::vector<float> x, float shift = 0) {
  const std::size_t count = x.size();
  Buffer<float> s(group_rows * score_stride);
  Buffer<float> t(group_rows * score_stride);
  s.clear();
  t.clear();
  std::copy(x.begin(), x.end(), s.data());
  const std::vector<float> lse2(group_rows, shift);
  const std::vector<float> delta(group_rows, 0.F);
  ops.gradients(s.data(), t.data(), t.data(), 256, 1, lse2.data(), delta.data(), nullptr);
  return {s.data(), s.data() + count};
}

TEST(SimdTiles, Exp2IsAccurateToFourRoundings) {
  for (const auto& [name, ops] : tile_rows()) {
    double worst = 0;
    for (double first = -125.9; first < 126; first += 0.25) {
      std::vector<float> x;
      for (int i = 0; i < 256; ++i) x.push_back(static_cast<float>(first + i / 1024.0));
      const std::vector<float> y = exp2_of(*ops, x);
      for (std::size_t i = 0; i < x.size(); ++i) {
        worst = std::max(worst, std::abs(y[i] / std::exp2(static_cast<double>(x[i])) - 1));
      }
    }
    EXPECT_LE(worst, 2e-7) << name;
  }
}

TEST(SimdTiles, Exp2OfHiddenKeysIsExactlyZero) {
  for (const auto& [name, ops] : tile_rows()) {
    const std::vector<float> y =
        exp2_of(*ops, {0, -infinity, -150, -1e4F, -6e4F, std::numeric_limits<float>::lowest(), -200, 1});
    EXPECT_EQ(y, (std::vector<float>{1, 0, 0, 0, 0, 0, 0, 2})) << name;
    EXPECT_EQ(exp2_of(*ops, {0, -infinity, 3e4F}, infinity), (std::vector<float>{0, 0, 0})) << name;
    EXPECT_EQ(exp2_of(*ops, {200, infinity}), (std::vector<float>{infinity, infinity})) << name;
    EXPECT_TRUE(std::isnan(exp2_of(*ops, {std::nanf("")})[0])) << name;
  }
}

TEST(SimdTiles, TanhIsAccurateToFourRoundings) {
  for (const auto& [name, ops] : tile_rows()) {
    double worst = 0;
    for (double first = -12; first < 12; first += 0.25) {
      Buffer<float> s(panel_keys * 8);
      Buffer<float> slope(s.size());
      for (std::int64_t i = 0; i < s.size(); ++i) s[i] = static_cast<float>(first + static_cast<double>(i) / 1024);
      const std::vector<float> x(s.data(), s.data() + s.size());
      ops->natural_scores(s.data(), s.size(), 1, 1, slope.data());
      for (std::size_t i = 0; i < x.size(); ++i) {
        const auto at = static_cast<std::int64_t>(i);
        const double want = std::tanh(static_cast<double>(x[i]));
        worst = std::max(worst, want == 0 ? std::abs(s[at]) : std::abs(s[at] / want - 1));
        EXPECT_NEAR(slope[at], 1 - want * want, 3e-7) << name;
      }
    }
    EXPECT_LE(worst, 2.5e-7) << name;
  }
}

TEST(SimdTiles, SoftmaxCarriesMaximumAndSum) {
  for (const auto& [name, ops] : tile_rows()) {
    Buffer<float> s(group_rows * score_stride);
    std::fill_n(s.data(), s.size(), -infinity);
    s[score_stride] = 3;
    s[score_stride + 31] = 1;
    std::vector<float> m(group_rows, -infinity);
    std::vector<float> l(group_rows, 0.F);
    m[2] = 5;
    l[2] = 7;
    alignas(64) float rescale[16];
    ops->softmax(s.data(), panel_keys, 2, m.data(), l.data(), l.data(), rescale);
    EXPECT_EQ(m[0], -infinity) << name;
    EXPECT_EQ(l[0], 0) << name;
    EXPECT_EQ(s[0], 0) << name;
    EXPECT_EQ(m[1], 6) << name;
    EXPECT_FLOAT_EQ(l[1], 1 + 1 / 16.F) << name;
    EXPECT_EQ(m[2], 5) << name;
    EXPECT_EQ(l[2], 7) << name;
    EXPECT_EQ(rescale[2], 1) << name;
  }
}

TEST(SimdTiles, WidensEveryHalf) {
  for (const auto& [name, ops] : tile_rows()) {
    std::vector<std::uint16_t> words(65536);
    for (std::size_t i = 0; i < words.size(); ++i) words[i] = static_cast<std::uint16_t>(i);
    Buffer<float> wide(65536);
    ops->widen_f16(words.data(), 65536, wide.data());
    const auto same = [](float a, float b) { return std::isnan(a) ? std::isnan(b) : a == b; };
    for (std::size_t i = 0; i < words.size(); ++i) {
      ASSERT_TRUE(same(wide[static_cast<std::int64_t>(i)], to_float(f16{words[i]}))) << name << " f16 " << i;
    }
    ops->widen_bf16(words.data(), 65536, wide.data());
    for (std::size_t i = 0; i < words.size(); ++i) {
      ASSERT_TRUE(same(wide[static_cast<std::int64_t>(i)], to_float(bf16{words[i]}))) << name << " bf16 " << i;
    }
  }
}

TEST(SimdTiles, NarrowsAsFromFloatDoes) {
  std::vector<float> values;
  for (std::uint32_t high = 0; high < 65536; ++high) {  // every exponent, ties, their neighbours, NaN and infinities
    for (const std::uint32_t low : {0U, 1U, 0x7fffU, 0x8000U, 0x8001U, 0xffffU}) {
      values.push_back(std::bit_cast<float>(high << 16 | low));
    }
  }
  std::vector<std::uint16_t> words(values.size());
  for (const auto& [name, ops] : tile_rows()) {
    ops->narrow_bf16(values.data(), 1, static_cast<std::int64_t>(values.size()), words.data());
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(words[i], from_float<bf16>(values[i] * 1.0F).bits) << name << " " << values[i];
    }
    ops->narrow_bf16(values.data() + 6, 0.5F, 3, words.data());
    EXPECT_EQ(words[2], from_float<bf16>(values[8] * 0.5F).bits) << name << ": factor, or a count below a vector";
  }
}

/// Element of a packed block at (key, d), by the formula of the layout.
template <class Word>
Word packed_element(const Word* part, std::int64_t key, std::int64_t d, std::int64_t head_dim, bool panel,
                    std::int64_t pair) {
  const std::int64_t width = kernels::simd::padded_width(head_dim);
  const std::int64_t panel_at = key / panel_keys * panel_keys * round_up(head_dim, pair);
  return panel ? part[panel_at + (d / pair * panel_keys + key % panel_keys) * pair + d % pair]
               : part[(key / pair * width + d) * pair + key % pair];
}

template <class Word>
void check_pack(DType dtype, Direction direction, std::int64_t rows, std::int64_t head_dim, std::int64_t pair) {
  const kernels::BlockShape shape{2, rows, 3, head_dim, dtype};
  const auto positions = all_positions(rows);
  const Tensor k = random_tensor(dtype, 1, Role::k, 2, positions, 3, head_dim);
  const Tensor v = random_tensor(dtype, 1, Role::v, 2, positions, 3, head_dim);
  Buffer<std::byte> packed(static_cast<std::int64_t>(kernels::simd::packed_rows(shape, direction, pair).bytes(shape.rows)));
  std::fill_n(packed.data(), packed.size(), std::byte{0xff});
  Workers workers(2);
  kernels::simd::pack(shape, direction, pair, k.view(), v.view(), packed.data(), workers);
  const kernels::simd::PackedLayout layout = kernels::simd::packed_layout(shape, direction, pair);
  const auto* const words = reinterpret_cast<const Word*>(packed.data());
  for (std::int64_t b = 0; b < 2; ++b) {
    for (std::int64_t head = 0; head < 3; ++head) {
      for (std::int64_t key = 0; key < layout.rows; ++key) {
        for (std::int64_t d = 0; d < head_dim; ++d) {
          const Word k_want = key < rows ? k.view().at<Word>(b, key, head)[d] : Word{0};
          const Word v_want = key < rows ? v.view().at<Word>(b, key, head)[d] : Word{0};
          const bool panels = direction == Direction::backward;
          ASSERT_EQ(packed_element(words + layout.k_at(b, head), key, d, head_dim, true, pair), k_want);
          ASSERT_EQ(packed_element(words + layout.v_at(b, head), key, d, head_dim, panels, pair), v_want);
        }
      }
    }
  }
}

TEST(SimdTiles, BurstsAreTheWorkTheyClaim) {
  constexpr int rounds = 3;
  alignas(64) std::array<float, 16 * 16> sums{};
  for (const auto& [name, ops] : tile_rows()) {
    const double flops = ops->multiply_add_burst(rounds, 0.5F, sums.data());
    const auto values = static_cast<std::size_t>(flops / (2 * rounds));  // one multiply-add of two flops a round
    ASSERT_LE(values, sums.size()) << name;
    EXPECT_EQ(sums[0], rounds * 0.25F) << name;
    EXPECT_EQ(sums[values - 1], 11 + rounds * 0.25F) << name;  // the last of 12 chains starts at 11
  }
#if defined(__x86_64__)
  if (kernels::simd::bf16_multiply_add_burst(1) == 0) GTEST_SKIP() << "no AVX512_BF16 here";
  const double flops = kernels::simd::avx512_bf16_tiles.multiply_add_burst(rounds, 0.5F, sums.data());
  EXPECT_EQ(flops, 4. * rounds * static_cast<double>(sums.size()));  // two multiply-adds a round
  for (std::size_t i = 0; i < sums.size(); ++i) ASSERT_EQ(sums[i], static_cast<float>(i / 16) + rounds * 0.5F);
#endif
}

TEST(SimdPack, PutsEveryElementInItsPlaceAndZerosInThePadding) {
  for (const Direction direction : {Direction::forward, Direction::backward}) {
    for (const std::int64_t rows : {1, 5, 32, 33, 70}) {
      for (const std::int64_t head_dim : {1, 3, 8, 13, 16, 40}) {
        check_pack<float>(DType::f32, direction, rows, head_dim, 1);
        check_pack<std::uint16_t>(DType::bf16, direction, rows, head_dim, 1);
        check_pack<std::uint16_t>(DType::bf16, direction, rows, head_dim, 2);
      }
    }
  }
}

}  // namespace
}  // namespace annulus::test
