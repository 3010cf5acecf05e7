/// The mask's ranges against the rule evaluated pair by pair.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/layout/mask.hpp"

#include <gtest/gtest.h>

#include <random>

#include "kernels/base/error.hpp"
#include "tests/support/random_masks.hpp"

namespace annulus {
namespace {

using test::oracle_mask;
using test::RandomMask;

bool holds(const PosSpan& keys, std::int64_t j) {
  return keys.begin <= j && j < keys.end && (j - keys.begin) % keys.step == 0;
}

/// Visible pairs of one query; keys come once each.
void expect_keys(const Mask& mask, std::int64_t q) {
  const VisibleKeys keys = mask.visible_keys(q);
  std::int64_t last = 0;
  for (const PosSpan& span : keys.spans()) {
    if (span.empty()) continue;
    EXPECT_GE(span.begin, last) << "spans ascend";
    last = span.end;
  }
  std::int64_t seen = 0;
  for (std::int64_t j = 0; j < mask.seq_k(); ++j) {
    const auto spans = keys.spans();
    const bool visible = std::any_of(spans.begin(), spans.end(), [j](const PosSpan& span) { return holds(span, j); });
    EXPECT_EQ(visible, oracle_mask(mask.spec()).visible(mask.key_position(q), j)) << "query " << q << " key " << j;
    seen += visible ? 1 : 0;
  }
  EXPECT_EQ(keys.count(), seen);
}

void expect_rule(const MaskSpec& spec, std::int64_t seq_q, std::int64_t seq_k) {
  const Mask mask(spec, seq_q, seq_k);
  SCOPED_TRACE(mask.describe() + " on " + std::to_string(seq_q) + " x " + std::to_string(seq_k));
  std::int64_t pairs = 0;
  for (std::int64_t q = 0; q < seq_q; ++q) {
    expect_keys(mask, q);
    pairs += mask.visible_keys(q).count();
  }
  EXPECT_EQ(mask.visible_pairs(), pairs);
}

TEST(Mask, FollowsTheRuleForAllLengths) {
  for (const bool causal : {false, true}) {
    for (const std::int64_t seq_q : {0, 1, 5, 12}) {
      for (const std::int64_t seq_k : {0, 1, 5, 12}) {
        expect_rule({.causal = causal}, seq_q, seq_k);
        expect_rule({.causal = causal, .window_size = {2, 1}}, seq_q, seq_k);
        expect_rule({.causal = causal, .chunk_size = 4}, seq_q, seq_k);
      }
    }
  }
}

TEST(Mask, KeepsDocumentsApartIncludingEmptyOnes) {
  for (const bool causal : {false, true}) {
    expect_rule({.causal = causal, .cu_seqlens = {0, 12}}, 12, 12);
    expect_rule({.causal = causal, .cu_seqlens = {0, 1, 5, 5, 12}}, 12, 12);
    expect_rule({.causal = causal, .cu_seqlens = {0, 0, 4, 12, 12}}, 12, 12);
  }
}

/// One random mask on random lengths, and whether all of it holds.
struct RandomCase {
  explicit RandomCase(std::uint64_t seed) : draw(seed) {
    seq_q = 1 + static_cast<std::int64_t>(draw() % 40);
    seq_k = draw() % 2 == 0 ? seq_q : 1 + static_cast<std::int64_t>(draw() % 40);
    spec = RandomMask(draw, seq_q, seq_k).any();
  }
  std::mt19937_64 draw;
  std::int64_t seq_q;
  std::int64_t seq_k;
  MaskSpec spec;
};

/// Seeds that differ from run to run; a failure prints the one it needs.
template <class Body>
void for_random_cases(int count, Body&& body) {
  const std::uint64_t first = std::random_device{}();
  for (int i = 0; i < count; ++i) {
    const std::uint64_t seed = first + static_cast<std::uint64_t>(i);
    SCOPED_TRACE("seed " + std::to_string(seed));
    RandomCase random(seed);
    body(random);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(Mask, FollowsTheRuleInEveryCombination) {
  for_random_cases(20000, [](RandomCase& random) { expect_rule(random.spec, random.seq_q, random.seq_k); });
}

/// The block's rows against the rule; returns its pairs.
std::int64_t expect_block(const Mask& mask, const Layout& q_layout, int rank, const Layout& k_layout, int owner) {
  const BlockMask block = block_mask(mask, q_layout, rank, k_layout, owner);
  const kernels::VisibleRows visible = block.view();
  std::int64_t pairs = 0;
  for (std::int64_t row = 0; row < q_layout.rows(rank); ++row) {
    const std::int64_t i = mask.key_position(q_layout.position(rank, row));
    for (std::int64_t key = 0; key < k_layout.rows(owner); ++key) {
      const auto spans = visible.of_row(row);
      const auto times = std::count_if(spans.begin(), spans.end(), [key](const auto& span) { return span.holds(key); });
      const std::int64_t j = k_layout.position(owner, key);
      EXPECT_EQ(times, oracle_mask(mask.spec()).visible(i, j) ? 1 : 0)
          << "rank " << rank << " of " << q_layout.ranks() << " query " << i << " key " << j;
      pairs += times;
    }
  }
  EXPECT_EQ(block.pairs, pairs);
  return pairs;
}

TEST(Mask, BlockRowsAreTheVisiblePositionsOfEachOwner) {
  for_random_cases(5000, [](RandomCase& random) {
    const auto kind = static_cast<LayoutKind>(random.draw() % 3);
    const int ranks = 1 + static_cast<int>(random.draw() % 5);
    const std::int64_t stripe = 1 + static_cast<std::int64_t>(random.draw() % 9);
    const Mask mask(random.spec, random.seq_q, random.seq_k);
    const Layout q_layout(kind, random.seq_q, ranks, stripe);
    const Layout k_layout(kind, random.seq_k, ranks, stripe);
    SCOPED_TRACE(mask.describe() + ", " + std::string(name(kind)) + "/" + std::to_string(stripe));
    std::int64_t pairs = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      for (int owner = 0; owner < ranks; ++owner) pairs += expect_block(mask, q_layout, rank, k_layout, owner);
    }
    EXPECT_EQ(pairs, mask.visible_pairs());
  });
}

TEST(Mask, FewSpansHoldAnyQuery) {
  const auto spans = [](const MaskSpec& spec, LayoutKind kind, std::int64_t stripe = 1) {
    const Layout layout(kind, 4096, 4, stripe);
    return block_mask(Mask(spec, 4096, 4096), layout, 1, layout, 2).per_row;
  };
  const MaskSpec window{.causal = true, .window_size = {64, 0}};
  MaskSpec sinks = window;
  sinks.sink_tokens = 4;
  MaskSpec strided = window;
  strided.stride = 8;
  for (const LayoutKind kind : {LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped}) {
    EXPECT_EQ(spans({.causal = true}, kind), 1);
    EXPECT_EQ(spans(window, kind), 1);
    EXPECT_EQ(spans(sinks, kind), 2);
  }
  EXPECT_EQ(spans(strided, LayoutKind::contiguous), 2);
  EXPECT_EQ(spans(strided, LayoutKind::zigzag), 3);
  EXPECT_EQ(spans(strided, LayoutKind::striped), 2);
  EXPECT_EQ(spans(strided, LayoutKind::striped, 16), 3) << "an offset in eight is hit";
  EXPECT_EQ(spans(strided, LayoutKind::striped, 512), 3) << "two stripes of 512";
}

bool some_query_sees(const Mask& mask, std::int64_t begin, std::int64_t end, std::int64_t j) {
  for (std::int64_t q = begin; q < end; ++q) {
    if (oracle_mask(mask.spec()).visible(mask.key_position(q), j)) return true;
  }
  return false;
}

TEST(NeededKeys, CoverWhatIsVisibleAndNoMore) {
  for_random_cases(20000, [](RandomCase& random) {
    const Mask mask(random.spec, random.seq_q, random.seq_k);
    const auto upto = [&](std::int64_t most) {
      return static_cast<std::int64_t>(random.draw() % static_cast<std::uint64_t>(most + 1));
    };
    const std::int64_t begin = upto(random.seq_q);
    const std::int64_t end = begin + upto(random.seq_q - begin);
    const std::vector<PosSpan> needed = needed_keys(mask, {begin, end});
    SCOPED_TRACE(mask.describe() + ", queries " + std::to_string(begin) + " to " + std::to_string(end));
    for (std::size_t i = 0; i < needed.size(); ++i) {
      EXPECT_LT(needed[i].begin, needed[i].end);
      if (i > 0) {
        EXPECT_LT(needed[i - 1].end, needed[i].begin);
      }
    }
    for (std::int64_t j = 0; j < random.seq_k; ++j) {
      const bool listed =
          std::any_of(needed.begin(), needed.end(), [j](const PosSpan& keys) { return holds(keys, j); });
      const bool seen = some_query_sees(mask, begin, end, j);
      if (seen || random.spec.stride == 0) {
        EXPECT_EQ(listed, seen) << "key " << j;
      }
    }
  });
}

TEST(NeededKeys, OfABillionTokensTakeNoTime) {
  const std::int64_t n = std::int64_t{1} << 40;
  const Mask mask({.causal = true, .window_size = {1023, 0}, .sink_tokens = 4}, n, n);
  EXPECT_EQ(needed_keys(mask, {n / 2, n}), (std::vector<PosSpan>{{0, 4}, {n / 2 - 1023, n}}));
  EXPECT_EQ(needed_keys(Mask({.causal = true}, n, n), {n / 2, n / 2 + 1}), (std::vector<PosSpan>{{0, n / 2 + 1}}));
}

TEST(Mask, RefusesDocumentsThatDoNotCoverTheSequenceInOrder) {
  EXPECT_THROW(Mask({.cu_seqlens = {0, 5, 3, 12}}, 12, 12), UsageError);
  EXPECT_THROW(Mask({.cu_seqlens = {1, 12}}, 12, 12), UsageError);
  EXPECT_THROW(Mask({.cu_seqlens = {0, 11}}, 12, 12), UsageError);
  EXPECT_THROW(Mask({.cu_seqlens = {0, 12}}, 11, 12), UsageError);
}

TEST(Mask, RefusesSizesThatMeanNothing) {
  const std::vector<MaskSpec> specs{{.window_size = {-2, 0}},
                                    {.window_size = {0, -2}},
                                    {.chunk_size = -1},
                                    {.window_size = {1, 0}, .sink_tokens = -1},
                                    {.window_size = {1, 0}, .global_tokens = -1},
                                    {.window_size = {1, 0}, .stride = -1},
                                    {.causal = true, .sink_tokens = 1},
                                    {.window_size = {-1, -1}, .global_tokens = 1},
                                    {.stride = 2}};
  for (const MaskSpec& spec : specs) {
    EXPECT_THROW(Mask(spec, 12, 12), UsageError);
  }
}

TEST(Mask, CountsPairsOfBillionsOfTokensOrSaysTheyAreTooMany) {
  const std::int64_t n = std::int64_t{1} << 30;
  EXPECT_EQ(Mask({.causal = true}, n, n).visible_pairs(), n / 2 * (n + 1));
  EXPECT_EQ(Mask({.causal = true, .window_size = {1023, 0}}, n, n).visible_pairs(), 1024 * n - 1024 * 1023 / 2);
  EXPECT_EQ(Mask({.chunk_size = 1024}, n, n).visible_pairs(), 1024 * n);
  EXPECT_THROW(Mask({}, std::int64_t{1} << 40, std::int64_t{1} << 40).visible_pairs(), ResourceError);
}

TEST(Mask, NamesEveryRule) {
  EXPECT_EQ(Mask({}, 4, 4).describe(), "full");
  const MaskSpec all{.causal = true,
                     .window_size = {1023, 0},
                     .chunk_size = 64,
                     .sink_tokens = 4,
                     .global_tokens = 1,
                     .stride = 8,
                     .cu_seqlens = {0, 4, 9}};
  EXPECT_EQ(Mask(all, 9, 9).describe(),
            "causal, window (1023, 0), chunks of 64, 4 sinks, 1 global token, stride 8, 2 documents");
}

}  // namespace
}  // namespace annulus
