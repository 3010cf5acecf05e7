/// The law: P ranks equal one rank equal the f64 oracle, for every mask, layout, dtype and exchange, both directions.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/ring_attention.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <random>

#include "tests/runtime/engine/ring_case.hpp"
#include "tests/support/random_masks.hpp"

namespace annulus::test {
namespace {

constexpr std::array layouts{LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped};
/// The same on every rank: a random seed of rank 0, printed when a test fails.
std::uint64_t shared_seed() {
  unsigned seed = std::random_device{}();
  MPI_Bcast(&seed, 1, MPI_UNSIGNED, 0, MPI_COMM_WORLD);
  return seed;
}

int node_size() {
  MPI_Comm node = MPI_COMM_NULL;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  int size = 0;
  MPI_Comm_size(node, &size);
  MPI_Comm_free(&node);
  return size;
}
/// Sizes of groups that the ranks can form.
std::vector<int> group_sizes() {
  std::vector<int> sizes;
  for (int size = 1; size <= node_size(); ++size) {
    if (node_size() % size == 0) sizes.push_back(size);
  }
  return sizes;
}
/// Blocks by messages, and read in place by as many ranks as can.
std::array<ExchangeKind, 2> exchanges() {
  return {ExchangeKind::messages, node_size() == world_size() ? ExchangeKind::shared : ExchangeKind::nodes};
}

RingCase small_case(std::int64_t seq_q, std::int64_t seq_k, bool causal) {
  RingCase test;
  test.spec = {.seq_q = seq_q, .seq_k = seq_k, .heads = 2, .kv_heads = 1, .head_dim = 32};
  test.spec.mask.causal = causal;
  test.execution.threads = 1;
  return test;
}

RingResult expect_law(const RingCase& test) {
  const RingResult result = run_ring(MPI_COMM_WORLD, test);
  const RingError worst = judge(test, world_rank(), world_size(), result);
  EXPECT_LE(worst.share, 1) << worst.where << " is off by " << worst.error << " in " << test.describe();
  return result;
}

TEST(RingAttention, EqualsTheOracleForEveryLayoutMaskAndExchangeWithTheSameBits) {
  for (const bool causal : {false, true}) {
    for (const LayoutKind layout : layouts) {
      RingCase test = small_case(257, 257, causal);
      test.layout = {layout, 5};
      test.execution.exchange = ExchangeKind::messages;
      const RingResult messages = expect_law(test);
      test.execution.exchange = ExchangeKind::shared;
      EXPECT_TRUE(same_bits(run_ring(MPI_COMM_WORLD, test), messages)) << test.describe();
      test.execution.threads = 3;
      EXPECT_TRUE(same_bits(run_ring(MPI_COMM_WORLD, test), messages)) << test.describe();
    }
  }
}

TEST(RingAttention, GroupsOfRanksObeyTheLawAndTheSmallestAndLargestHaveTheBitsOfTheFlatRing) {
  for (const bool causal : {false, true}) {
    RingCase test = small_case(257, 190, causal);
    test.spec.kv_heads = 2;
    test.spec.alibi_slopes = {0.05F, 0.25F};
    test.layout.kind = LayoutKind::zigzag;
    test.execution.exchange = ExchangeKind::messages;
    const RingResult flat = run_ring(MPI_COMM_WORLD, test);
    test.execution.exchange = ExchangeKind::nodes;
    for (const int size : group_sizes()) {
      test.execution.group_size = size;
      const RingResult grouped = expect_law(test);
      const bool flat_order = size == 1 || size == world_size();
      EXPECT_TRUE(!flat_order || same_bits(grouped, flat)) << "groups of " << size;
    }
  }
}

TEST(RingAttention, GradientsThatComeHomeInPartsAreWhole) {
  const int ranks = world_size();
  for (const bool causal : {false, true}) {
    RingCase test = small_case(ranks * 201, ranks * 201, causal);
    test.spec.head_dim = 8;
    test.layout.kind = LayoutKind::zigzag;
    test.execution.backend = "reference";  // whose tiles of 64 keys cut 201 rows into four parts
    test.execution.exchange = ExchangeKind::messages;
    const RingResult flat = expect_law(test);
    const auto unparted = static_cast<std::uint64_t>(2 * ranks - 1);  // blocks, sums, and a way home in one message
    if (ranks > 1 && !causal) {
      EXPECT_EQ(flat.backward.messages, unparted + 3);
    }
    test.execution.exchange = ExchangeKind::nodes;
    for (const int size : group_sizes()) {
      test.execution.group_size = size;
      const RingResult grouped = expect_law(test);
      EXPECT_TRUE(size > 1 || same_bits(grouped, flat));
    }
  }
}

TEST(RingAttention, OnlyWhatIsStillSeenTravelsInCausalZigzag) {
  const int ranks = world_size();
  RingCase test = small_case(ranks * 64, ranks * 64, true);  // chunks of 32 keys: as many as a granule
  test.layout.kind = LayoutKind::zigzag;
  test.execution.exchange = ExchangeKind::messages;
  std::array<std::uint64_t, 2> sent{};
  for (const bool causal : {false, true}) {
    test.spec.mask.causal = causal;
    const RingResult result = run_ring(MPI_COMM_WORLD, test);
    std::uint64_t bytes = result.forward.bytes_sent;
    MPI_Allreduce(MPI_IN_PLACE, &bytes, 1, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
    sent[causal ? 1 : 0] = bytes;
  }
  EXPECT_EQ(sent[1] * 4, sent[0] * 3);
}

TEST(RingAttention, TakesAnyLengthAlsoShorterThanTheRing) {
  for (const bool causal : {false, true}) {
    for (const auto& [seq_q, seq_k] : {std::pair{1, 1}, {3, 3}, {7, 8}, {13, 64}, {64, 13}, {5, 1}, {16, 16}}) {
      RingCase test = small_case(seq_q, seq_k, causal);
      test.layout.kind = layouts[static_cast<std::size_t>(seq_q) % 3];
      for (const ExchangeKind exchange : exchanges()) {
        test.execution.exchange = exchange;
        expect_law(test);
      }
    }
  }
}

TEST(RingAttention, NothingToAttendGivesZerosAndMinusInfinity) {
  RingCase test = small_case(6, 0, false);
  const RingResult result = run_ring(MPI_COMM_WORLD, test);
  for (const float x : result.out) EXPECT_EQ(x, 0.0F);
  for (const float x : result.lse) EXPECT_EQ(x, -INFINITY);
  for (const float x : result.dq) EXPECT_EQ(x, 0.0F);
}

TEST(RingAttention, RowsThatSeeNoKeyStayEmptyBesideOthers) {
  RingCase test = small_case(40, 25, true);  // bottom-right aligned: the first 15 queries see nothing
  const RingResult result = expect_law(test);
  const auto positions = Layout(test.layout.kind, 40, world_size()).positions(world_rank());
  for (std::size_t row = 0; row < positions.size(); ++row) {
    EXPECT_EQ(result.lse[row] == -INFINITY, positions[row] < 15);
  }
}

TEST(RingAttention, KeepsDocumentsApartAtEveryShardEdge) {
  const std::int64_t seq_len = 48;
  const std::int64_t edge = seq_len / world_size();
  for (const std::int64_t shift : {-1, 0, 1}) {
    for (const bool causal : {false, true}) {
      RingCase test = small_case(seq_len, seq_len, causal);
      const std::int64_t cut = std::clamp<std::int64_t>(edge + shift, 0, seq_len);
      test.spec.mask.cu_seqlens = {0, cut, cut, std::min(cut + 1, seq_len), seq_len};  // empty and 1-token documents
      test.layout = {layouts[static_cast<std::size_t>(shift + 1)], 2};
      expect_law(test);
    }
  }
}

TEST(RingAttention, LocalMasksObeyTheLawInEveryLayoutAndExchangeWithTheSameBits) {
  const std::uint64_t seed = shared_seed();
  std::mt19937_64 draw(seed);
  const std::vector<MaskSpec> masks{
      {.causal = true, .window_size = {30, 0}, .sink_tokens = 3},
      {.causal = true, .window_size = {9, 0}, .chunk_size = 40, .stride = 6},
      {.window_size = {8, 5}, .global_tokens = 2, .cu_seqlens = {0, 50, 51, 161}},
      RandomMask(draw, 161, 161).any(),
  };
  for (std::size_t i = 0; i < masks.size(); ++i) {
    for (const LayoutKind layout : layouts) {
      RingCase test = small_case(161, 161, false);
      test.seed = seed;
      test.spec.mask = masks[i];
      test.layout = {layout, 1 + static_cast<std::int64_t>(i) * 5};
      test.execution.exchange = ExchangeKind::messages;
      const RingResult messages = expect_law(test);
      test.execution.exchange = ExchangeKind::shared;
      test.execution.threads = 3;
      EXPECT_TRUE(same_bits(run_ring(MPI_COMM_WORLD, test), messages)) << test.describe();
    }
  }
}

TEST(RingAttention, SharesKvHeadsInGroups) {
  for (const auto& [heads, kv_heads] : {std::pair{8, 8}, {8, 2}, {8, 1}, {6, 3}, {28, 4}, {9, 3}}) {
    RingCase test = small_case(33, 33, true);
    test.spec.heads = heads;
    test.spec.kv_heads = kv_heads;
    test.spec.head_dim = 16;
    test.layout.kind = LayoutKind::zigzag;
    expect_law(test);
  }
}

TEST(RingAttention, CarriesEveryScoreFeatureAndBatchesRoundTheRing) {
  for (const ExchangeKind exchange : exchanges()) {
    RingCase test = small_case(61, 75, true);
    test.spec.batch = 2;
    test.spec.softcap = 3;
    test.spec.softmax_scale = 0.4;
    test.spec.alibi_slopes = {0.05F, 0.25F};
    test.spec.sink = true;
    test.layout = {LayoutKind::striped, 4};
    test.execution.exchange = exchange;
    expect_law(test);
  }
}

TEST(RingAttention, SixteenBitErrorsStayBelowTwiceThoseOfPlainAttention) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    RingCase test = small_case(129, 129, true);
    test.spec.dtype = dtype;
    test.layout.kind = LayoutKind::zigzag;
    expect_law(test);
  }
}

TEST(RingAttention, EveryBackendObeysTheLaw) {
  for (const kernels::KernelTable& table : kernels::kernel_tables()) {
    if (!table.unavailable.empty()) continue;
    RingCase test = small_case(70, 70, true);
    test.execution.backend = table.name;
    test.layout.kind = LayoutKind::zigzag;
    expect_law(test);
  }
}

TEST(RingAttention, RandomShapesObeyTheLaw) {
  const std::uint64_t seed = shared_seed();
  std::mt19937_64 draw(seed);
  const auto below = [&](std::uint64_t limit) { return static_cast<std::int64_t>(draw() % limit); };
  for (int round = 0; round < 12; ++round) {
    RingCase test = small_case(1 + below(150), 1 + below(150), false);
    if (below(2) == 0) test.spec.seq_k = test.spec.seq_q;
    test.spec.mask = RandomMask(draw, test.spec.seq_q, test.spec.seq_k).any();
    test.seed = seed;
    test.spec.batch = 1 + below(2);
    test.spec.kv_heads = 1 + below(3);
    test.spec.heads = test.spec.kv_heads * (1 + below(3));
    test.spec.head_dim = 1 + below(80);
    test.spec.dtype = below(3) == 0 ? DType::bf16 : DType::f32;
    test.spec.sink = below(2) == 0;
    // dsink sums dout.out over all rows: a 16-bit out would show its own rounding there, not the ring's error.
    if (test.spec.sink) test.out_dtype = DType::f32;
    test.layout = {layouts[static_cast<std::size_t>(below(3))], 1 + below(9)};
    const std::vector<int> sizes = group_sizes();
    const auto way = static_cast<std::size_t>(below(3));
    test.execution.exchange = way < 2 ? exchanges()[way] : ExchangeKind::nodes;
    if (way == 2) test.execution.group_size = sizes[static_cast<std::size_t>(below(sizes.size()))];
    test.execution.threads = 1 + static_cast<int>(below(3));
    expect_law(test);
  }
}

TEST(RingAttention, RepeatsItsBitsWhateverTheTiming) {
  std::mt19937 jitter(static_cast<unsigned>(world_rank()) + std::random_device{}());
  for (const ExchangeKind exchange : {exchanges()[0], exchanges()[1], ExchangeKind::nodes}) {
    RingCase test = small_case(90, 90, true);
    test.layout.kind = LayoutKind::zigzag;
    test.execution.exchange = exchange;
    if (exchange == ExchangeKind::nodes) test.execution.group_size = group_sizes()[group_sizes().size() / 2];
    test.execution.threads = 2;
    const RingResult first = run_ring(MPI_COMM_WORLD, test);
    test.execution.on_step = [&](int, int) { usleep(static_cast<useconds_t>(jitter() % 3000)); };
    for (int run = 0; run < 20; ++run) EXPECT_TRUE(same_bits(run_ring(MPI_COMM_WORLD, test), first)) << "run " << run;
  }
}

/// Ranks of the ring in a sub-communicator of the given size; the others return at once.
double worst_share(RingCase test, int ranks) {
  MPI_Comm part = MPI_COMM_NULL;
  const bool member = world_rank() < ranks;
  MPI_Comm_split(MPI_COMM_WORLD, member ? 0 : 1, 0, &part);
  double share = 0;
  if (member) share = judge(test, world_rank(), ranks, run_ring(part, test)).share;
  MPI_Comm_free(&part);
  MPI_Allreduce(MPI_IN_PLACE, &share, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return share;
}

TEST(RingAttention, ErrorsDoNotGrowWithTheRing) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    RingCase test = small_case(192, 192, false);
    test.spec.dtype = dtype;
    const double alone = worst_share(test, 1);
    const double together = worst_share(test, world_size());
    EXPECT_LE(together, 1.5 * alone) << name(dtype);
  }
}

}  // namespace
}  // namespace annulus::test
