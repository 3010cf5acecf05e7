/// Pairs per step, against every pair asked.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/forecast/step_work.hpp"

#include <gtest/gtest.h>

#include <random>

#include "tests/support/random_masks.hpp"

namespace annulus::forecast {
namespace {

/// Visible pairs of `rank`'s queries with the first `block_rows` rows of the owner's block.
std::int64_t counted(const test::OracleMask& mask, const Layout& layout, int rank, int owner, std::int64_t block_rows) {
  std::int64_t pairs = 0;
  for (const std::int64_t query : layout.positions(rank)) {
    for (std::int64_t row = 0; row < block_rows; ++row) pairs += mask.visible(query, layout.position(owner, row)) ? 1 : 0;
  }
  return pairs;
}

TEST(StepWork, CountsEveryPairWhereEveryQueryIsASample) {
  const std::uint64_t seed = std::random_device{}();
  std::mt19937_64 draw(seed);
  for (int round = 0; round < 200; ++round) {
    const auto seq_len = static_cast<std::int64_t>(1 + draw() % 60);
    const int ranks = static_cast<int>(1 + draw() % 5);
    MaskSpec spec = test::RandomMask(draw, seq_len, seq_len).any();
    spec.stride = 0;  // keys of a stride are taken as evenly spread
    const Layout layout(std::array{LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped}[draw() % 3], seq_len, ranks);
    const Mask mask(spec, seq_len, seq_len);
    SCOPED_TRACE("seed " + std::to_string(seed) + " round " + std::to_string(round) + " " + mask.describe());
    for (int rank = 0; rank < ranks; ++rank) {
      const SampledQueries queries(mask, layout.row_set(rank), static_cast<int>(2 * seq_len));
      double all = 0;
      for (int owner = 0; owner < ranks; ++owner) {
        const std::int64_t rows = layout.rows(owner);
        const double pairs = queries.against(layout.row_counter(owner), rows).pairs;
        ASSERT_NEAR(pairs, static_cast<double>(counted(test::oracle_mask(spec), layout, rank, owner, rows)), 1e-6);
        all += pairs;
      }
      ASSERT_NEAR(queries.with_all().pairs, all, 1e-6);
    }
  }
}

TEST(StepWork, NeedsFewSamplesOfACausalMask) {
  constexpr std::int64_t seq_len = 1 << 20;
  const Layout layout(LayoutKind::zigzag, seq_len, 8);
  const Mask mask({.causal = true}, seq_len, seq_len);
  double pairs = 0;
  for (int rank = 0; rank < 8; ++rank) pairs += SampledQueries(mask, layout.row_set(rank), 8).with_all().pairs;
  const double exact = 0.5 * static_cast<double>(seq_len) * static_cast<double>(seq_len + 1);
  EXPECT_NEAR(pairs / exact, 1, 1e-5);
}

TEST(StepWork, SpreadsTheKeysOfAStride) {
  constexpr std::int64_t seq_len = 4096;
  const MaskSpec spec{.causal = true, .window_size = {63, 0}, .stride = 16};
  const Layout layout(LayoutKind::contiguous, seq_len, 4);
  const Mask mask(spec, seq_len, seq_len);
  double pairs = 0;
  for (int rank = 0; rank < 4; ++rank) {
    const SampledQueries queries(mask, layout.row_set(rank), 128);
    for (int owner = 0; owner < 4; ++owner) pairs += queries.against(layout.row_counter(owner), layout.rows(owner)).pairs;
  }
  EXPECT_NEAR(pairs / static_cast<double>(mask.visible_pairs()), 1, 0.02);
}

TEST(StepWork, CountsRowsWhoseKeysEndWithinABlock) {
  constexpr std::int64_t seq_len = 1000;
  const Mask mask({.causal = true, .window_size = {99, 0}}, seq_len, seq_len);
  const Layout layout(LayoutKind::contiguous, seq_len, 2);
  const SampledQueries second(mask, layout.row_set(1), 2000);
  // Against its own block all but the last row end inside, and all but the first hundred begin there.
  EXPECT_NEAR(second.against(layout.row_counter(1), 500).edges, 499 + 400, 1e-6);
  // Of the first block's rows 99 begin to be seen inside; all of them reach its end.
  EXPECT_NEAR(second.against(layout.row_counter(0), 500).edges, 99, 1e-6);
}

TEST(StepWork, IsNothingWithoutRows) {
  const Mask mask({.causal = true}, 3, 3);
  const Layout layout(LayoutKind::contiguous, 3, 5);
  EXPECT_EQ(SampledQueries(mask, RowSet(), 8).with_all().pairs, 0);
  int empty = 0;
  while (layout.rows(empty) > 0) ++empty;
  EXPECT_EQ(SampledQueries(mask, RowSet({{0, 3}}), 8).against(layout.row_counter(empty), 0).pairs, 0);
}

}  // namespace
}  // namespace annulus::forecast
