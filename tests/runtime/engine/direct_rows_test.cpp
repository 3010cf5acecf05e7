/// Rows that travel straight from their owners, in as many rounds as it takes: the law, and that nothing else travels.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <array>
#include <random>

#include "runtime/engine/attention_plan.hpp"
#include "tests/runtime/engine/needs.hpp"
#include "tests/runtime/engine/ring_case.hpp"
#include "tests/support/message_counter.hpp"
#include "tests/support/random_tensors.hpp"

namespace annulus::test {
namespace {

constexpr std::array layouts{LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped};
constexpr std::int64_t seq_len = 157;

class DirectRows : public testing::Test {
 protected:
  static RingCase make_case(MaskSpec mask, LayoutKind layout, std::int64_t positions = seq_len) {
    RingCase test;
    test.spec = {.seq_q = positions, .seq_k = positions, .heads = 4, .kv_heads = 2, .head_dim = 24};
    test.spec.mask = std::move(mask);
    test.layout = {layout, 20};
    test.execution.threads = 1;
    test.execution.exchange = ExchangeKind::messages;
    test.seed = 23;
    return test;
  }
  AttentionPlan plan(const RingCase& test) const { return {test.spec, test.layout, {comm_.rank(), comm_.size()}}; }
  std::int64_t shard() const { return (seq_len + comm_.size() - 1) / comm_.size(); }
  /// Windows of 2 to 7 shards, one long document among short ones, and what lies between.
  std::vector<MaskSpec> masks() const {
    std::vector<MaskSpec> all{{.causal = true, .cu_seqlens = {0, 3, 130, 131, 157}},
                              {.causal = false, .cu_seqlens = {0, 20, 120, 140, 157}},
                              {.causal = true, .chunk_size = 70},
                              {.causal = false, .window_size = {shard() + 1, shard() + 1}},
                              {.causal = true, .window_size = {2 * shard() + 3, 0}, .sink_tokens = 4}};
    for (std::int64_t shards = 2; shards <= 7; ++shards) {
      all.push_back({.causal = true, .window_size = {std::min(shards * shard() + 1, seq_len - 2), 0}});
    }
    return all;
  }
  RingResult expect_law(const RingCase& test) const {
    const RingResult result = run_ring(MPI_COMM_WORLD, test);
    const RingError worst = judge(test, comm_.rank(), comm_.size(), result);
    EXPECT_LE(worst.share, 1) << worst.where << " is off by " << worst.error << " in " << test.describe();
    return result;
  }

  Communicator comm_ = Communicator::duplicate(MPI_COMM_WORLD);
};

/// Forward and backward, and what both sent: counted below MPI and pair by pair.
TEST_F(DirectRows, ObeyTheLawAndAreOnlyThoseThatOthersSee) {
  int most_rounds = 0;
  for (const LayoutKind layout : layouts) {
    for (const MaskSpec& mask : masks()) {
      const RingCase test = make_case(mask, layout);
      take_mpi_calls();
      const RingResult result = expect_law(test);
      const MpiCalls calls = take_mpi_calls();
      const AttentionPlan direct = plan(test);
      const Needs needs(test.spec, direct.k_layout());
      const std::int64_t whole = (comm_.size() - 1) * seq_len;
      const bool is_less = needs.keys < whole - whole / 16;
      EXPECT_EQ(direct.halo().has_value(), is_less) << test.describe();
      if (!is_less) continue;
      most_rounds = std::max(most_rounds, direct.direct().rounds.count());
      std::array<std::uint64_t, 6> sent{result.forward.messages,  result.forward.bytes_sent,
                                        result.backward.messages, result.backward.bytes_sent,
                                        calls.messages,           calls.bytes};
      comm_.sum(sent);
      const auto bytes = static_cast<std::uint64_t>(needs.keys * 2 * 2 * 24) * sizeof(float);
      EXPECT_EQ(sent[0], needs.key_pairs.size()) << test.describe();
      EXPECT_EQ(sent[1], bytes) << test.describe();
      EXPECT_EQ(sent[2], 2 * needs.key_pairs.size()) << test.describe();
      EXPECT_EQ(sent[3], 2 * bytes) << test.describe();
      EXPECT_EQ(sent[4], sent[0] + sent[2]) << "messages that are not in the report";
      EXPECT_EQ(sent[5], sent[1] + sent[3]) << "bytes that are not in the report";
    }
  }
  EXPECT_GE(most_rounds, std::min(comm_.size() - 2, 4)) << "these masks need too few rounds to show anything";
}

/// Stripes of one row and a window that reaches all ranks: only the last rows are not for everybody.
TEST_F(DirectRows, LeaveTheRingWhereTheySaveLittle) {
  RingCase test = make_case({.causal = true, .window_size = {2 * comm_.size(), 0}}, LayoutKind::striped);
  test.layout.stripe = 1;
  const AttentionPlan around = plan(test);
  const Needs needs(test.spec, around.k_layout());
  if (comm_.size() > 1) {
    EXPECT_LT(needs.keys, (comm_.size() - 1) * seq_len) << "they would save something";
  }
  EXPECT_FALSE(around.halo().has_value());
  expect_law(test);
}

/// Rows of 384 bytes of q, of k and v together, and of out: six lists of 24 bytes each may hold 8 pieces for each row of the shard.
TEST_F(DirectRows, LeaveTheRingOnlyWhereTheirListsAreShort) {
  for (const std::int64_t before : {8, 9}) {
    RingCase test = make_case({.causal = true, .window_size = {before, 0}}, LayoutKind::striped);
    test.layout.stripe = 1;
    EXPECT_EQ(AttentionPlan(test.spec, test.layout, {0, 16}).halo().has_value(), before == 8);
    expect_law(test);
    test.layout.stripe = before;
    EXPECT_TRUE(AttentionPlan(test.spec, test.layout, {0, 16}).halo().has_value()) << "one piece of a stripe";
  }
}

TEST_F(DirectRows, CarryEveryScoreFeatureDtypeAndBatchInRounds) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
    for (const LayoutKind layout : layouts) {
      RingCase test =
          make_case({.causal = true, .window_size = {2 * shard() + 3, 0}, .cu_seqlens = {0, 100, 157}}, layout);
      test.spec.batch = 2;
      test.spec.dtype = dtype;
      test.spec.softcap = 4;
      test.spec.alibi_slopes = {0.02F, 0.1F, 0.05F, 0.2F};
      test.spec.sink = true;
      test.out_dtype = DType::f32;
      if (dtype == DType::f64) test.execution.backend = "reference";
      expect_law(test);
    }
  }
}

/// Also masks of which every rank lacks everything, sequences shorter than the ring and other numbers of queries.
TEST_F(DirectRows, ObeyTheLawWhateverTheMask) {
  std::array<std::uint64_t, 1> seed{comm_.rank() == 0 ? std::random_device{}() : 0U};
  comm_.max(seed);
  std::mt19937_64 draw(seed[0]);
  for (int run = 0; run < 40; ++run) {
    SCOPED_TRACE("seed " + std::to_string(seed[0]) + " run " + std::to_string(run));
    const auto below = [&](std::uint64_t limit) { return static_cast<std::int64_t>(draw() % limit); };
    RingCase test = make_case({}, layouts[static_cast<std::size_t>(below(3))], 1 + below(120));
    if (below(3) == 0) test.spec.seq_q = 1 + below(120);
    test.spec.mask = RandomMask(draw, test.spec.seq_q, test.spec.seq_k).any();
    test.spec.head_dim = 8;
    test.layout.stripe = 1 + below(20);
    expect_law(test);
  }
}

/// Global queries see all keys of a document, so they go to these; the keys that other queries see take several rounds.
TEST_F(DirectRows, TakeGlobalQueriesAlongWithTheFirstRound) {
  for (const LayoutKind layout : layouts) {
    const RingCase test = make_case({.window_size = {shard() + 5, shard() - 3}, .global_tokens = 1}, layout);
    const AttentionPlan direct = plan(test);
    if (comm_.size() >= 5) {
      EXPECT_GT(direct.direct().queries, 0) << test.describe();
      EXPECT_GT(direct.direct().rounds.count(), 1) << test.describe();
    }
    const RingResult result = expect_law(test);
    if (direct.direct().queries == 0) continue;
    const Needs needs(test.spec, direct.k_layout());
    std::array<std::uint64_t, 2> sent{result.forward.messages, result.backward.messages};
    comm_.sum(sent);
    const std::uint64_t there = needs.messages(direct.direct().rounds);
    EXPECT_EQ(sent[0], there + needs.query_pairs.size()) << test.describe();
    EXPECT_EQ(sent[1], 2 * there) << test.describe();
  }
}

TEST_F(DirectRows, RepeatTheirBitsWhateverTheTimingThreadsAndExchange) {
  for (const LayoutKind layout : layouts) {
    RingCase test = make_case({.causal = true, .window_size = {3 * shard() + 2, 0}}, layout);
    const RingResult first = run_ring(MPI_COMM_WORLD, test);
    const std::uint64_t seed = std::random_device{}();
    std::mt19937_64 jitter(seed + static_cast<std::uint64_t>(comm_.rank()));
    for (int run = 0; run < 4; ++run) {
      test.execution.threads = 1 + run % 2;
      test.execution.exchange = run < 2 ? ExchangeKind::messages : ExchangeKind::automatic;
      usleep(static_cast<useconds_t>(jitter() % 3000));
      EXPECT_TRUE(same_bits(run_ring(MPI_COMM_WORLD, test), first)) << "run " << run << " seed " << seed;
    }
  }
}

/// One key more than two shards lack used to set the whole ring going: 56 messages on 8 ranks.
TEST_F(DirectRows, CostOneMessageMoreWhereAWindowReachesOneShardFurther) {
  constexpr std::int64_t positions = 4096;
  const std::int64_t rows = positions / comm_.size();
  if (positions % comm_.size() != 0) GTEST_SKIP() << "shards differ";
  const auto messages = [&](std::int64_t window) {
    RingCase test = make_case({.causal = true, .window_size = {window - 1, 0}}, LayoutKind::contiguous, positions);
    test.spec.heads = test.spec.kv_heads = 1;
    test.spec.head_dim = 8;
    test.backward = false;
    std::array<std::uint64_t, 1> sent{run_ring(MPI_COMM_WORLD, test).forward.messages};
    comm_.sum(sent);
    return sent[0];
  };
  for (const std::int64_t shards : {0, 1, 2, 3}) {
    std::uint64_t pairs = 0;  // of a rank and one of those before it
    for (int rank = 1; rank < comm_.size(); ++rank)
      pairs += static_cast<std::uint64_t>(std::min<std::int64_t>(rank, shards));
    const std::uint64_t further = static_cast<std::uint64_t>(std::max<std::int64_t>(0, comm_.size() - 1 - shards));
    EXPECT_EQ(messages(shards * rows + 1), pairs) << shards << " shards";
    EXPECT_EQ(messages(shards * rows + 2), pairs + further) << shards << " shards and a key";
  }
}

std::int64_t live_bytes() {
  const struct mallinfo2 heap = mallinfo2();
  return static_cast<std::int64_t>(heap.uordblks + heap.hblkhd);
}

/// What a first call allocates: its buffers are kept for the next one.
std::int64_t allocated_by(const RingCase& test, kernels::Direction direction) {
  const AttentionSpec& spec = test.spec;
  RingAttention ring(MPI_COMM_WORLD, test.layout, spec, test.execution);
  const std::vector<std::int64_t> at = ring.k_layout().positions(ring.rank());
  const auto rows = static_cast<std::int64_t>(at.size());
  const Tensor q = random_tensor(spec.dtype, 1, Role::q, spec.batch, at, spec.heads, spec.head_dim);
  const Tensor k = random_tensor(spec.dtype, 1, Role::k, spec.batch, at, spec.kv_heads, spec.head_dim);
  const Tensor out(spec.dtype, spec.batch, rows, spec.heads, spec.head_dim);
  const Tensor dk(spec.dtype, spec.batch, rows, spec.kv_heads, spec.head_dim);
  std::vector<float> stats(static_cast<std::size_t>(spec.batch * spec.heads * rows));
  const RowStats lse = dense_stats(stats.data(), spec.batch, spec.heads, rows);
  const std::int64_t before = live_bytes();
  if (direction == kernels::Direction::forward) {
    ring.forward({.q = q.view(), .k = k.view(), .v = k.view(), .out = out.view(), .lse = lse});
  } else {
    const Tensor& any = q;
    ring.backward({.q = q.view(),
                   .k = k.view(),
                   .v = k.view(),
                   .out = any.view(),
                   .dout = any.view(),
                   .lse = lse,
                   .dq = out.view(),
                   .dk = dk.view(),
                   .dv = dk.view()});
  }
  return live_bytes() - before;
}

TEST_F(DirectRows, TakeNoMoreMemoryThanPlannedAndNotMuchLess) {
  constexpr double scratch = 512 * 1024;  // of one thread of the kernels, and of MPI: not planned
  if (live_bytes() == 0) GTEST_SKIP() << "a sanitizer's heap does not tell";
  for (const LayoutKind layout : layouts) {
    for (const std::int64_t shards : {1, 2, 4}) {
      RingCase test = make_case({.causal = true, .window_size = {shards * 256, 0}}, layout, 256 * comm_.size());
      test.layout.stripe = 64;
      test.spec.kv_heads = 4;
      test.spec.head_dim = 64;
      if (!plan(test).halo()) continue;
      const kernels::KernelTable& table = kernels::kernel_table("auto", DType::f32);
      for (const kernels::Direction direction : {kernels::Direction::forward, kernels::Direction::backward}) {
        allocated_by(test, direction);  // opens MPI's connections
        const auto planned = static_cast<double>(
            attention_bytes(test.spec, test.layout, comm_.size(), table, ExchangeKind::messages, direction));
        std::array<std::uint64_t, 1> most{static_cast<std::uint64_t>(allocated_by(test, direction))};
        comm_.max(most);
        EXPECT_LE(static_cast<double>(most[0]), planned + scratch) << test.describe();
        EXPECT_GE(static_cast<double>(most[0]), 0.8 * planned) << test.describe();
      }
    }
  }
}

}  // namespace
}  // namespace annulus::test
