/// Tile classification against a pair-by-pair count.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <string>
#include <vector>

#include "kernels/contract/attention.hpp"

namespace annulus::kernels {
namespace {

TEST(Classify, KnownTiles) {
  const std::vector<RowSpan> causal{{0, 1}, {0, 2}, {0, 3}, {0, 4}};
  const VisibleRows visible{causal, 1};
  RowSpan hull;
  EXPECT_EQ(classify(visible, 0, 4, {0, 4}, &hull), TileKind::partial);
  EXPECT_EQ(hull, (RowSpan{0, 4}));
  EXPECT_EQ(classify(visible, 2, 4, {0, 3}, &hull), TileKind::full);
  EXPECT_EQ(classify(visible, 0, 2, {2, 4}, &hull), TileKind::empty);
  EXPECT_EQ(hull.begin, hull.end);
  EXPECT_EQ(classify(visible, 1, 2, {0, 4}, &hull), TileKind::partial);
  EXPECT_EQ(hull, (RowSpan{0, 2}));
}

TEST(Classify, SpansThatTouchAreNoGap) {
  const std::vector<RowSpan> spans{{0, 2}, {2, 5}, {5, 5}};
  EXPECT_EQ(classify({spans, 3}, 0, 1, {0, 5}), TileKind::full);
}

TEST(Classify, NoRowsOrNoKeysAreEmpty) {
  const std::vector<RowSpan> spans{{0, 5}};
  EXPECT_EQ(classify({spans, 1}, 0, 0, {0, 5}), TileKind::empty);
  EXPECT_EQ(classify({spans, 1}, 0, 1, {3, 3}), TileKind::empty);
}

TEST(Classify, StepsLeaveGapsBetweenThem) {
  const std::vector<RowSpan> spans{{1, 9, 3}, {2, 9, 3}, {3, 9, 3}};
  RowSpan hull;
  EXPECT_EQ(classify({spans, 1}, 0, 1, {2, 9}, &hull), TileKind::partial);
  EXPECT_EQ(hull, (RowSpan{4, 8}));
  EXPECT_EQ(classify({spans, 1}, 0, 1, {5, 7}), TileKind::empty);
  EXPECT_EQ(classify({spans, 1}, 0, 1, {4, 5}), TileKind::full);
  EXPECT_EQ(classify({spans, 3}, 0, 1, {1, 9}), TileKind::full) << "together they hold every key";
}

/// Two disjoint spans per row, the first of any step, some of them empty.
std::vector<RowSpan> random_spans(std::int64_t rows, std::int64_t keys, std::mt19937_64& random) {
  std::vector<RowSpan> spans;
  std::uniform_int_distribution<std::int64_t> any(0, keys);
  for (std::int64_t row = 0; row < rows; ++row) {
    std::array<std::int64_t, 4> cuts{any(random), any(random), any(random), any(random)};
    std::ranges::sort(cuts);
    spans.push_back({cuts[0], cuts[1], 1 + any(random) % 4});
    spans.push_back({cuts[2], cuts[3]});
  }
  return spans;
}

TEST(Classify, AgreesWithPairsOneByOne) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const std::vector<RowSpan> spans = random_spans(5, 9, random);
    const VisibleRows visible{spans, 2};
    const RowSpan keys{static_cast<std::int64_t>(seed % 4), 4 + static_cast<std::int64_t>(seed % 6)};
    std::int64_t pairs = 0;
    RowSpan want{keys.end, keys.begin};
    for (std::int64_t row = 1; row < 4; ++row) {
      for (std::int64_t key = keys.begin; key < keys.end; ++key) {
        const bool seen = std::ranges::any_of(
            visible.of_row(row), [key](const RowSpan& span) { return span.holds(key); });
        pairs += seen ? 1 : 0;
        if (seen) want = {std::min(want.begin, key), std::max(want.end, key + 1)};
      }
    }
    const std::int64_t all = 3 * (keys.end - keys.begin);
    RowSpan hull;
    const TileKind kind = classify(visible, 1, 4, keys, &hull);
    EXPECT_EQ(kind, pairs == 0 ? TileKind::empty : pairs == all ? TileKind::full : TileKind::partial);
    if (pairs > 0) {
      EXPECT_EQ(hull, want);
    }
  }
}

}  // namespace
}  // namespace annulus::kernels
