/// Queries that travel, against the predicate of every pair.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/layout/global_plan.hpp"

#include <gtest/gtest.h>

#include <random>

#include "tests/support/random_masks.hpp"

namespace annulus {
namespace {

/// Position `i` in key coordinates, counted from the start of its document; negative before the first key.
std::int64_t place_in_document(const MaskSpec& mask, std::int64_t i) {
  std::int64_t begin = 0;
  for (const std::int64_t start : mask.cu_seqlens) begin = start <= i ? start : begin;
  return i - begin;
}

class GlobalPlanTest : public testing::Test {
 protected:
  std::int64_t below(std::int64_t limit) {
    return static_cast<std::int64_t>(draw_() % static_cast<std::uint64_t>(limit));
  }
  /// A mask with global tokens and, now and then, everything else.
  MaskSpec mask(std::int64_t seq_q, std::int64_t seq_k) {
    MaskSpec spec = test::RandomMask(draw_, seq_q, seq_k).any();
    if (!spec.is_local()) spec.window_size = {below(5), below(5)};
    if (below(4) > 0) spec.global_tokens = 1 + below(4);
    if (below(4) > 0) spec.causal = false;
    if (below(4) > 0) spec.stride = 0;
    return spec;
  }
  std::uint64_t seed_ = std::random_device{}();
  std::mt19937_64 draw_{seed_};
};

TEST_F(GlobalPlanTest, FindsTheQueriesOfGlobalTokensThatSeeTheirWholeDocument) {
  for (int round = 0; round < 300; ++round) {
    const std::int64_t seq_k = 1 + below(40);
    const std::int64_t seq_q = below(2) == 0 ? seq_k : 1 + below(40);
    const Mask mask(this->mask(seq_q, seq_k), seq_q, seq_k);
    SCOPED_TRACE("seed " + std::to_string(seed_) + " round " + std::to_string(round) + " " + mask.describe());
    const RowSet found = global_queries(mask);
    for (std::int64_t q = 0; q < seq_q; ++q) {
      const std::int64_t place = place_in_document(mask.spec(), mask.key_position(q));
      const bool global = 0 <= place && place < mask.spec().global_tokens;
      ASSERT_EQ(found.contains(q), global && !mask.spec().causal && mask.spec().stride == 0) << q;
      if (!found.contains(q)) continue;
      const PosSpan document = mask.document(mask.key_position(q));
      ASSERT_EQ(mask.visible_keys(q).count(), document.end - document.begin) << q;
    }
    ASSERT_LE(found.rows(), seq_q);
  }
}

TEST_F(GlobalPlanTest, SendsEveryGlobalQueryToThoseWhoseKeysItSeesAndLeavesTheOthersAtHome) {
  for (int round = 0; round < 200; ++round) {
    const std::int64_t seq_k = 1 + below(40);
    const std::int64_t seq_q = below(2) == 0 ? seq_k : 1 + below(40);
    const Mask mask(this->mask(seq_q, seq_k), seq_q, seq_k);
    const int ranks = 1 + static_cast<int>(below(8));
    const auto kind = static_cast<LayoutKind>(below(3));
    const Layout q_layout(kind, seq_q, ranks, 3);
    const Layout k_layout(kind, seq_k, ranks, 3);
    SCOPED_TRACE("seed " + std::to_string(seed_) + " round " + std::to_string(round) + " " + mask.describe());
    const RowSet global = global_queries(mask);
    for (int rank = 0; rank < ranks; ++rank) {
      const GlobalPlan plan = global_plan(mask, q_layout, k_layout, rank, global);
      const RowSet own = q_layout.row_set(rank);
      for (std::int64_t q = 0; q < seq_q; ++q) {
        bool sees = false;
        for (const std::int64_t key : k_layout.positions(rank)) {
          sees = sees || test::oracle_mask(mask.spec()).visible(mask.key_position(q), key);
        }
        ASSERT_EQ(plan.visits.halo.contains(q), global.contains(q) && !own.contains(q) && sees) << q;
        ASSERT_EQ(plan.visits.own.contains(q), global.contains(q) && own.contains(q)) << q;
        ASSERT_EQ(plan.at_home.contains(q), !global.contains(q) && own.contains(q)) << q;
      }
    }
  }
}

}  // namespace
}  // namespace annulus
