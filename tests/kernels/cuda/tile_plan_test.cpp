/// Tile plans against the predicate, pair by pair.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/tile_plan.hpp"

#include <gtest/gtest.h>

#include <random>

namespace annulus::kernels::cuda {
namespace {

struct Spans {
  std::vector<RowSpan> spans;
  std::int64_t per_row;
  VisibleRows view() const { return {spans, per_row}; }
};

Spans causal(std::int64_t rows) {
  Spans mask{{}, 1};
  for (std::int64_t row = 0; row < rows; ++row) mask.spans.push_back({0, row + 1});
  return mask;
}

/// Disjoint spans of any kind.
Spans random_spans(std::uint64_t seed, std::int64_t q_rows, std::int64_t key_rows) {
  std::mt19937_64 draw(seed);
  const auto below = [&](std::int64_t limit) {
    return static_cast<std::int64_t>(draw() % static_cast<std::uint64_t>(limit));
  };
  Spans mask{{}, 3};
  for (std::int64_t row = 0; row < q_rows; ++row) {
    std::int64_t at = 0;
    for (int k = 0; k < 3; ++k) {
      const std::int64_t begin = std::min(key_rows, at + below(30));
      const std::int64_t end = std::min(key_rows, begin + below(120));
      mask.spans.push_back({begin, end, below(4) == 0 ? 3 : 1});
      at = end;
    }
  }
  return mask;
}

const TileRun* run_of(const TilePlan& plan, std::int64_t row_tile, std::int64_t column_tile) {
  for (auto i = plan.offsets[static_cast<std::size_t>(row_tile)];
       i < plan.offsets[static_cast<std::size_t>(row_tile + 1)]; ++i) {
    const TileRun& run = plan.runs[static_cast<std::size_t>(i)];
    if (run.begin <= column_tile && column_tile < run.end) return &run;
  }
  return nullptr;
}

/// No seen pair is left out, and where nothing is checked everything is seen.
void expect_sound(const Spans& mask, std::int64_t q_rows, std::int64_t key_rows, std::int64_t query_tile,
                  std::int64_t key_tile) {
  const TilePlan plan = plan_tiles(mask.view(), q_rows, query_tile, key_tile);
  const TilePlan back = transposed(plan, (key_rows + key_tile - 1) / key_tile);
  for (std::int64_t first = 0; first < q_rows; first += query_tile) {
    for (std::int64_t key = 0; key < key_rows; key += key_tile) {
      const RowSpan keys{key, std::min(key + key_tile, key_rows)};
      const TileKind kind = classify(mask.view(), first, std::min(first + query_tile, q_rows), keys);
      const TileRun* const run = run_of(plan, first / query_tile, key / key_tile);
      const TileRun* const mirrored = run_of(back, key / key_tile, first / query_tile);
      ASSERT_EQ(run == nullptr, mirrored == nullptr);
      ASSERT_TRUE(run != nullptr || kind == TileKind::empty) << first << ", " << key;
      if (run == nullptr) continue;
      ASSERT_EQ(run->masked, mirrored->masked);
      const bool whole = kind == TileKind::full && keys.end - keys.begin == key_tile;
      ASSERT_TRUE(run->masked != 0 || whole) << first << ", " << key;
    }
  }
}

TEST(TilePlan, CausalIsOneFullAndOneMaskedRunPerTile) {
  const TilePlan plan = plan_tiles(causal(512).view(), 512, 128, 64);
  EXPECT_EQ(plan.order, (std::vector<std::int32_t>{3, 2, 1, 0})) << "longest first";
  ASSERT_EQ(plan.offsets, (std::vector<std::int32_t>{0, 1, 3, 5, 7}));
  EXPECT_EQ(plan.runs[5].end - plan.runs[5].begin, 6) << "whole tiles of the last rows";
  EXPECT_EQ(plan.runs[5].masked, 0);
  EXPECT_EQ(plan.runs[6].end, 8);
  EXPECT_EQ(plan.runs[6].masked, 1);
}

TEST(TilePlan, TheLastTileOfABlockIsCheckedWhereItIsNotWhole) {
  const Spans mask{std::vector<RowSpan>(10, RowSpan{0, 100}), 1};
  const TilePlan plan = plan_tiles(mask.view(), 10, 64, 64);
  ASSERT_EQ(plan.runs.size(), 2U);
  EXPECT_EQ(plan.runs[0].masked, 0);
  EXPECT_EQ(plan.runs[1].masked, 1);
}

TEST(TilePlan, KeysBetweenSpansAreSkipped) {
  const Spans mask{{{0, 4}, {1000, 1050}}, 2};
  const TilePlan plan = plan_tiles(mask.view(), 1, 64, 64);
  ASSERT_EQ(plan.runs.size(), 2U);
  EXPECT_EQ(plan.runs[0].end, 1);
  EXPECT_EQ(plan.runs[1].begin, 15);
}

TEST(TilePlan, IdleTilesComeLastAndOnRequest) {
  const Spans mask{{{0, 0}, {0, 64}, {0, 0}}, 1};
  TilePlan plan = plan_tiles(mask.view(), 3, 1, 64);
  EXPECT_EQ(plan.order, (std::vector<std::int32_t>{1}));
  plan.add_idle();
  EXPECT_EQ(plan.order, (std::vector<std::int32_t>{1, 0, 2}));
}

TEST(TilePlan, IsSoundForAnySpans) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    expect_sound(random_spans(seed, 200, 333), 200, 333, 64, 32);
    expect_sound(random_spans(seed, 77, 333), 77, 333, 128, 64);
  }
  expect_sound(causal(300), 300, 300, 128, 64);
}

}  // namespace
}  // namespace annulus::kernels::cuda
