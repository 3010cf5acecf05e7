/// Granules cover a dataset once, stay within their limits, and are dealt evenly.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/granules.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "runtime/checkpoint/tensor_name.hpp"

namespace annulus::checkpoint {
namespace {

TEST(Granules, CoverEveryRowOnceLineByLine) {
  for (const std::int64_t seq : {1, 3, 10}) {
    for (const std::int64_t granule_rows : {1, 4, 7, 100}) {
      const Granules granules({3, seq, 2}, granule_rows);
      std::int64_t next = 0;
      for (std::int64_t g = 0; g < granules.count(); ++g) {
        EXPECT_EQ(granules.offset(g), next * 2);
        granules.for_each_segment(g, [&](const Segment& segment) {
          EXPECT_EQ(segment.line * seq + segment.begin, next);
          EXPECT_LT(segment.begin, segment.end);
          EXPECT_LE(segment.end, seq);
          next += segment.end - segment.begin;
        });
      }
      EXPECT_EQ(next, 3 * seq);
    }
  }
}

TEST(Granules, OfNothingAreNone) {
  EXPECT_EQ(Granules({0, 5, 4}, 2).count(), 0);
  EXPECT_EQ(Granules({5, 0, 4}, 2).count(), 0);
  EXPECT_EQ(Granules({5, 5, 0}, 2).count(), 0);
}

TEST(Granules, HoldBetweenOneAndFourMebibytesOfWholeRows) {
  for (const std::int64_t row_bytes : {1, 4, 30, 2560, 1 << 20, (1 << 20) + 1, 16 << 20}) {
    for (const std::int64_t rows : {1, 1000, 1 << 20, 1 << 30}) {
      const std::int64_t bytes = rows_per_granule({1, rows, row_bytes}) * row_bytes;
      EXPECT_LE(bytes, std::max<std::int64_t>(row_bytes, 4 << 20));
      EXPECT_GT(bytes, (1 << 19) - row_bytes);
      EXPECT_TRUE(bytes % 4096 == 0 || row_bytes == (1 << 20) + 1) << "two ranks share a page";
    }
  }
  EXPECT_EQ(rows_per_granule({1, 1 << 18, 2048}) * 2048, 2 << 20) << "512 MiB in 256";
}

/// The most granules that a rank has, over the mean.
double imbalance(const Granules& granules, const Layout& layout) {
  std::vector<std::int64_t> kept(static_cast<std::size_t>(layout.ranks()));
  for (std::int64_t g = 0; g < granules.count(); ++g) ++kept[static_cast<std::size_t>(keeper(granules, layout, g))];
  const auto most = static_cast<double>(*std::max_element(kept.begin(), kept.end()));
  return most * layout.ranks() / static_cast<double>(granules.count());
}

TEST(Granules, AreDealtEvenly) {
  for (const LayoutKind kind : {LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped}) {
    for (const int ranks : {1, 2, 3, 8, 64}) {
      for (const std::int64_t lines : {1, 4}) {
        const Layout layout(kind, 1 << 20, ranks);
        const RowSpace space{lines, 1 << 20, 8192};
        EXPECT_LT(imbalance(Granules(space, 1024), layout), 1.1) << name(kind) << " " << ranks;
      }
    }
  }
}

TEST(Granules, StayWithTheirRows) {
  const Layout layout(LayoutKind::zigzag, 1 << 20, 4);
  const Granules granules({2, 1 << 20, 8192}, 1000);
  for (std::int64_t g = 0; g < granules.count(); ++g) {
    const std::int64_t middle = (granules.begin(g) + granules.rows(g) / 2) % (1 << 20);
    EXPECT_EQ(keeper(granules, layout, g), layout.owner(middle));
  }
}

TEST(TensorName, IsAPathOfPlainParts) {
  for (const char* good : {"x", "layers/000012/x", "a-b_c.d/E", "..x", "x.."})
    EXPECT_TRUE(is_tensor_name(good)) << good;
  for (const char* bad : {"", "/", "/x", "x/", "a//b", ".", "..", "a/../b", "a/.", "a b", "\xc3\xa9", "a\nb", "a\\b"}) {
    EXPECT_FALSE(is_tensor_name(bad)) << bad;
  }
  EXPECT_TRUE(is_tensor_name(std::string(200, 'x')));
  EXPECT_FALSE(is_tensor_name(std::string(201, 'x')));
}

}  // namespace
}  // namespace annulus::checkpoint
