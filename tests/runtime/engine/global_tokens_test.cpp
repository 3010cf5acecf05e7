/// Global tokens without a ring: the law, and that nothing travels but the rows that must.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <random>

#include "runtime/engine/attention_plan.hpp"
#include "tests/runtime/engine/needs.hpp"
#include "tests/runtime/engine/ring_case.hpp"
#include "tests/support/message_counter.hpp"
#include "tests/support/random_masks.hpp"

namespace annulus::test {
namespace {

constexpr std::array layouts{LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped};

class GlobalTokens : public testing::Test {
 protected:
  static RingCase make_case(MaskSpec mask, LayoutKind layout, std::int64_t seq_q = 161, std::int64_t seq_k = 161) {
    RingCase test;
    test.spec = {.seq_q = seq_q, .seq_k = seq_k, .heads = 4, .kv_heads = 2, .head_dim = 24};
    test.spec.mask = std::move(mask);
    test.layout = {layout, 20};
    test.execution.threads = 1;
    test.execution.exchange = ExchangeKind::messages;
    test.seed = 5;
    return test;
  }
  AttentionPlan plan(const RingCase& test) const { return {test.spec, test.layout, {comm_.rank(), comm_.size()}}; }

  RingResult expect_law(const RingCase& test) const {
    const RingResult result = run_ring(MPI_COMM_WORLD, test);
    const RingError worst = judge(test, comm_.rank(), comm_.size(), result);
    EXPECT_LE(worst.share, 1) << worst.where << " is off by " << worst.error << " in " << test.describe();
    return result;
  }
  /// The law, where queries travel.
  RingResult expect_law_of_travellers(const RingCase& test) const {
    EXPECT_EQ(plan(test).direct().queries > 0, comm_.size() > 1) << test.describe();
    return expect_law(test);
  }

  Communicator comm_ = Communicator::duplicate(MPI_COMM_WORLD);
};

std::vector<MaskSpec> masks() {
  return {{.window_size = {4, 3}, .global_tokens = 2},
          {.window_size = {6, 5}, .chunk_size = 32, .sink_tokens = 4, .global_tokens = 3},
          {.chunk_size = 9, .global_tokens = 1, .cu_seqlens = {0, 40, 40, 41, 100, 161}}};
}

TEST_F(GlobalTokens, ObeyTheLawInEveryLayoutWithTheSameBits) {
  for (const LayoutKind layout : layouts) {
    for (const MaskSpec& mask : masks()) {
      RingCase test = make_case(mask, layout);
      const RingResult result = expect_law_of_travellers(test);
      test.execution.threads = 3;
      test.execution.exchange = ExchangeKind::automatic;
      EXPECT_TRUE(same_bits(run_ring(MPI_COMM_WORLD, test), result)) << test.describe();
    }
  }
}

TEST_F(GlobalTokens, CarryEveryScoreFeatureDtypeAndBatch) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
    for (const LayoutKind layout : layouts) {
      RingCase test =
          make_case({.window_size = {3, 2}, .global_tokens = 2, .cu_seqlens = {0, 60, 103}}, layout, 103, 103);
      test.spec.batch = 2;
      test.spec.dtype = dtype;
      test.spec.softcap = 4;
      test.spec.softmax_scale = 0.3;
      test.spec.alibi_slopes = {0.02F, 0.1F, 0.05F, 0.2F};
      test.spec.sink = true;
      test.out_dtype = DType::f32;
      test.layout.stripe = 13;
      if (dtype == DType::f64) test.execution.backend = "reference";
      expect_law_of_travellers(test);
    }
  }
}

TEST_F(GlobalTokens, MayHaveOutputsOfAnotherTypeOnEveryRank) {
  RingCase test = make_case(masks()[0], LayoutKind::contiguous);
  test.spec.dtype = DType::bf16;
  test.out_dtype = comm_.rank() % 2 == 0 ? DType::bf16 : DType::f32;
  expect_law_of_travellers(test);
}

TEST_F(GlobalTokens, StandWhereTheFirstKeyIsWhenQueriesAreMoreOrFewer) {
  const auto expect = [&](const RingCase& test) {  // small shards whose keys lie elsewhere lack too many of them
    comm_.size() <= 3 ? expect_law_of_travellers(test) : expect_law(test);
  };
  for (const LayoutKind layout : layouts) {
    expect(make_case({.window_size = {4, 3}, .global_tokens = 3}, layout, 190, 150));
    expect(make_case({.window_size = {4, 3}, .global_tokens = 35}, layout, 120, 150));
    expect_law(make_case({.window_size = {2, 1}, .global_tokens = 1}, layout, 5, 3));
    expect_law(make_case({.window_size = {2, 1}, .global_tokens = 2}, layout, 9, 9));
  }
}

TEST_F(GlobalTokens, RepeatTheirBitsWhateverTheTiming) {
  const RingCase test = make_case(masks()[1], LayoutKind::zigzag);
  const RingResult first = run_ring(MPI_COMM_WORLD, test);
  std::mt19937 jitter(static_cast<unsigned>(comm_.rank()) + std::random_device{}());
  for (int run = 0; run < 5; ++run) {
    usleep(static_cast<useconds_t>(jitter() % 3000));
    EXPECT_TRUE(same_bits(run_ring(MPI_COMM_WORLD, test), first)) << "run " << run;
  }
}

TEST_F(GlobalTokens, SendOnlyTheRowsThatOthersSeeInOneMessagePerPairWayAndRound) {
  for (const LayoutKind layout : layouts) {
    for (const MaskSpec& mask : masks()) {
      RingCase test = make_case(mask, layout);
      const AttentionSpec& spec = test.spec;
      take_mpi_calls();
      const RingResult result = run_ring(MPI_COMM_WORLD, test);
      const MpiCalls calls = take_mpi_calls();
      EXPECT_EQ(calls.messages, result.forward.messages + result.backward.messages);
      EXPECT_EQ(calls.bytes, result.forward.bytes_sent + result.backward.bytes_sent);
      std::array<std::uint64_t, 4> sent{result.forward.messages, result.forward.bytes_sent, result.backward.messages,
                                        result.backward.bytes_sent};
      comm_.sum(sent);
      const Needs needs(spec, Layout(layout, spec.seq_k, comm_.size(), test.layout.stripe));
      const HaloRounds rounds = plan(test).direct().rounds;
      const std::int64_t kv = needs.keys * 2 * spec.kv_heads * spec.head_dim * 4;  // f32: k and v, or dk and dv
      const std::int64_t q = needs.queries * spec.heads * spec.head_dim * 4;       // q, out, dout or dq
      const std::int64_t lse = needs.queries * spec.heads * 4;
      EXPECT_EQ(sent[0], needs.messages(rounds) + needs.query_pairs.size()) << test.describe();
      EXPECT_EQ(sent[1], static_cast<std::uint64_t>(kv + 2 * q + lse)) << test.describe();
      EXPECT_EQ(sent[2], 2 * needs.messages(rounds)) << test.describe();
      EXPECT_EQ(sent[3], static_cast<std::uint64_t>(2 * kv + 4 * q + lse)) << test.describe();
    }
  }
}

/// A ring of this size would send two to four times as much, a longer sequence makes it more.
TEST_F(GlobalTokens, SendTheSameHoweverLongTheSequence) {
  if (comm_.size() == 1) GTEST_SKIP() << "one rank sends nothing";
  std::vector<std::uint64_t> bytes;
  for (const std::int64_t seq_len : {400, 800}) {
    RingCase test = make_case({.window_size = {4, 3}, .global_tokens = 2}, LayoutKind::zigzag, seq_len, seq_len);
    std::array<std::uint64_t, 1> sent{expect_law_of_travellers(test).forward.bytes_sent};
    comm_.sum(sent);
    const std::int64_t ring = (comm_.size() - 1) * seq_len * 2 * test.spec.kv_heads * test.spec.head_dim * 4;
    EXPECT_LT(4 * sent[0], static_cast<std::uint64_t>(ring));
    bytes.push_back(sent[0]);
  }
  EXPECT_EQ(bytes[0], bytes[1]);
}

TEST_F(GlobalTokens, TakeTheRingWhereTheyAreMostOfTheSequenceOrAStrideShowsEverything) {
  if (comm_.size() == 1) GTEST_SKIP() << "a ring of one";
  for (const MaskSpec& mask : {MaskSpec{.window_size = {4, 3}, .global_tokens = 160},
                               MaskSpec{.window_size = {4, 3}, .global_tokens = 2, .stride = 7}}) {
    const RingCase test = make_case(mask, LayoutKind::contiguous);
    EXPECT_FALSE(plan(test).halo()) << test.describe();
    expect_law(test);
  }
  RingCase wide = make_case({.window_size = {4, 3}, .global_tokens = 19}, LayoutKind::contiguous);
  wide.spec.heads = 32;
  wide.spec.kv_heads = 1;
  EXPECT_EQ(plan(wide).direct().queries, 0) << "a query of 32 heads is more to send than the keys of one";
  expect_law(wide);
  const RingCase causal =
      make_case({.causal = true, .window_size = {4, 0}, .global_tokens = 2}, LayoutKind::contiguous);
  EXPECT_TRUE(plan(causal).halo());
  EXPECT_EQ(plan(causal).direct().queries, 0) << "a causal global token sees too little to travel";
}

TEST_F(GlobalTokens, PlanTheSameOnEveryRank) {
  const std::uint64_t seed = std::random_device{}();
  std::mt19937_64 draw(seed);
  for (int round = 0; round < 200; ++round) {
    const auto below = [&](std::uint64_t limit) { return static_cast<std::int64_t>(draw() % limit); };
    const int ranks = 1 + static_cast<int>(below(8));
    AttentionSpec spec{.seq_q = 1 + below(90), .seq_k = 1 + below(90), .heads = 1 + below(3), .head_dim = 8};
    if (below(2) == 0) spec.seq_q = spec.seq_k;
    spec.mask = RandomMask(draw, spec.seq_q, spec.seq_k).any();
    const LayoutSpec layout{layouts[static_cast<std::size_t>(below(3))], 1 + below(9)};
    std::vector<AttentionPlan> plans;
    for (int rank = 0; rank < ranks; ++rank) plans.emplace_back(spec, layout, RingSchedule{rank, ranks});
    for (const AttentionPlan& plan : plans) {
      ASSERT_EQ(plan.halo().has_value(), plans[0].halo().has_value()) << "seed " << seed << " round " << round;
      for (const HaloPart& part : plan.global().visits.arriving) {
        const auto& leaving = plans[static_cast<std::size_t>(part.peer)].global().visits.leaving;
        ASSERT_NE(std::ranges::find(leaving, HaloPart{plan.ring().rank, part.rows}), leaving.end()) << "seed " << seed;
      }
    }
  }
}

}  // namespace
}  // namespace annulus::test
