/// The mask's ranges against the rule evaluated pair by pair.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/layout/mask.hpp"

#include <gtest/gtest.h>

#include <random>

#include "kernels/base/error.hpp"

namespace annulus {
namespace {

/// The rule as the documentation states it, one pair at a time.
bool visible(const MaskSpec& spec, std::int64_t seq_q, std::int64_t seq_k, std::int64_t q, std::int64_t j) {
  const std::int64_t i = q + seq_k - seq_q;
  if (spec.causal && j > i) return false;
  if (spec.cu_seqlens.empty()) return true;
  for (std::size_t d = 0; d + 1 < spec.cu_seqlens.size(); ++d) {
    const auto inside = [&](std::int64_t x) { return spec.cu_seqlens[d] <= x && x < spec.cu_seqlens[d + 1]; };
    if (inside(i) && inside(j)) return true;
  }
  return false;
}

void expect_rule(const MaskSpec& spec, std::int64_t seq_q, std::int64_t seq_k) {
  const Mask mask(spec, seq_q, seq_k);
  std::int64_t pairs = 0;
  for (std::int64_t q = 0; q < seq_q; ++q) {
    const PosSpan keys = mask.visible_keys(q);
    ASSERT_LE(keys.begin, keys.end);
    for (std::int64_t j = 0; j < seq_k; ++j) {
      const bool expected = visible(spec, seq_q, seq_k, q, j);
      EXPECT_EQ(keys.begin <= j && j < keys.end, expected) << "query " << q << " key " << j;
      pairs += expected ? 1 : 0;
    }
  }
  EXPECT_EQ(mask.visible_pairs(), pairs);
}

TEST(Mask, FollowsTheRuleForAllLengths) {
  for (const bool causal : {false, true}) {
    for (const std::int64_t seq_q : {0, 1, 5, 12}) {
      for (const std::int64_t seq_k : {0, 1, 5, 12}) expect_rule({causal, {}}, seq_q, seq_k);
    }
  }
}

TEST(Mask, KeepsDocumentsApartIncludingEmptyOnes) {
  for (const bool causal : {false, true}) {
    expect_rule({causal, {0, 12}}, 12, 12);
    expect_rule({causal, {0, 1, 5, 5, 12}}, 12, 12);
    expect_rule({causal, {0, 0, 4, 12, 12}}, 12, 12);
  }
}

TEST(Mask, BlockRowsAreTheVisiblePositionsOfEachOwner) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 draw(seed);
  for (int round = 0; round < 30; ++round) {
    const auto kind = static_cast<LayoutKind>(draw() % 3);
    const int ranks = 1 + static_cast<int>(draw() % 5);
    const std::int64_t seq_len = 1 + draw() % 40;
    MaskSpec spec{draw() % 2 == 0, {}};
    if (draw() % 2 == 0) spec.cu_seqlens = {0, static_cast<std::int64_t>(draw() % seq_len), seq_len};
    const std::int64_t seq_q = spec.cu_seqlens.empty() ? 1 + draw() % 40 : seq_len;
    const Mask mask(spec, seq_q, seq_len);
    const Layout q_layout(kind, seq_q, ranks, 3);
    const Layout k_layout(kind, seq_len, ranks, 3);
    std::int64_t pairs = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      for (int owner = 0; owner < ranks; ++owner) {
        const BlockMask block = block_mask(mask, q_layout, rank, k_layout, owner);
        pairs += block.pairs;
        for (std::int64_t row = 0; row < q_layout.rows(rank); ++row) {
          const auto spans = block.view().of_row(row);
          for (std::int64_t key = 0; key < k_layout.rows(owner); ++key) {
            const bool seen = spans[0].begin <= key && key < spans[0].end;
            EXPECT_EQ(seen, visible(spec, seq_q, seq_len, q_layout.position(rank, row), k_layout.position(owner, key)));
          }
        }
      }
    }
    EXPECT_EQ(pairs, mask.visible_pairs());
  }
}

TEST(Mask, RefusesDocumentsThatDoNotCoverTheSequenceInOrder) {
  EXPECT_THROW(Mask({true, {0, 5, 3, 12}}, 12, 12), UsageError);
  EXPECT_THROW(Mask({true, {1, 12}}, 12, 12), UsageError);
  EXPECT_THROW(Mask({true, {0, 11}}, 12, 12), UsageError);
  EXPECT_THROW(Mask({true, {0, 12}}, 11, 12), UsageError);
}

TEST(Mask, CountsPairsOfBillionsOfTokensOrSaysTheyAreTooMany) {
  const std::int64_t n = std::int64_t{1} << 30;
  EXPECT_EQ(Mask({true, {}}, n, n).visible_pairs(), n / 2 * (n + 1));
  EXPECT_THROW(Mask({false, {}}, std::int64_t{1} << 40, std::int64_t{1} << 40).visible_pairs(), ResourceError);
}

}  // namespace
}  // namespace annulus
