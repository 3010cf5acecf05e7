/// The CUDA row on emulated hardware: all suites of the CPU rows, and what only this row promises.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <random>

#include "tests/kernels/available_backends.hpp"
#include "tests/kernels/contract_case.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/emulated_device.hpp"

namespace annulus::test {

using kernels::cuda::Line;

/// The kernels for sm_80, and those for Hopper, which are of 16 bits, in both forms of backward.
std::vector<BackendParam> suite_backends() {
  std::vector<BackendParam> params = with_each_dtype(std::span(&emulated_table(), 1), 8);
  for (const auto* table : {&emulated_table(true), &deterministic_table()}) {
    for (const DType dtype : {DType::bf16, DType::f16}) params.push_back({table, dtype, 8});
  }
  return params;
}

namespace {

class Emulated : public testing::TestWithParam<BackendParam> {
 protected:
  const kernels::KernelTable& row() const { return *GetParam().table; }
  EmulatedDevice& device() const { return emulated_device(&row() != &emulated_table()); }
  /// dq may depend on the order in which blocks add to it.
  bool sums_in_any_order() const { return &row() == &emulated_table(true); }
};

/// Any shape: one case per seed, which failures name.
ContractCase random_case(std::uint64_t seed, DType dtype) {
  std::mt19937_64 draw(seed);
  const auto below = [&](std::uint64_t limit) { return static_cast<std::int64_t>(draw() % limit); };
  constexpr std::array head_dims{8, 40, 64, 96, 128, 256};
  ContractCase test;
  test.seed = seed;
  test.dtype = dtype;
  const std::int64_t seq_k = 1 + below(200);
  test.problem = {.batch = 1 + below(2), .seq_q = 1 + below(200), .seq_k = seq_k, .heads = 1, .kv_heads = 1 + below(2)};
  test.problem.heads = test.problem.kv_heads * (1 + below(3));
  test.problem.head_dim = head_dims[static_cast<std::size_t>(below(head_dims.size()))];
  test.problem.mask.causal = below(2) == 0;
  if (below(2) == 0) test.problem.mask.left = below(100);
  if (below(3) == 0) test.problem.softcap = 3;
  if (below(3) == 0) test.problem.alibi_slopes.assign(static_cast<std::size_t>(test.problem.heads), 0.03F);
  if (below(3) == 0) test.problem.sink.assign(static_cast<std::size_t>(test.problem.heads), 0.7F);
  if (below(2) == 0) test.blocks = cut_blocks(seq_k, {seq_k / 3, seq_k / 2});
  test.gradient_scale = 1;  // rows that see one key have ds = 0, the rest of a cancellation
  test.sink_scale = static_cast<double>(test.problem.batch * test.problem.seq_q);
  return test;
}

TEST_P(Emulated, RandomShapes) {
  for (std::uint64_t seed = 1; seed <= 9; ++seed)
    judge(row(), random_case(seed, GetParam().dtype), "random");
}

/// Two row tiles and two column tiles of every kernel at every width, of which some are whole.
TEST_P(Emulated, WholeTilesAtEveryWidth) {
  for (const std::int64_t head_dim : {64, 128, 256}) {
    ContractCase test;
    test.dtype = GetParam().dtype;
    test.problem = {.seq_q = 150, .seq_k = 150, .head_dim = head_dim};
    judge(row(), test, "head_dim " + std::to_string(head_dim));
  }
}

/// More key tiles than any kernel has buffers for, so that each is filled again and again.
TEST_P(Emulated, LongRowsAtEveryWidth) {
  for (const std::int64_t head_dim : {64, 128, 256}) {
    ContractCase test;
    test.dtype = GetParam().dtype;
    test.problem = {.seq_q = 20, .seq_k = 700, .head_dim = head_dim};
    judge(row(), test, "head_dim " + std::to_string(head_dim));
  }
}

TEST_P(Emulated, OrderOfBlocksAndThreadsChangesNoBit) {
  for (std::uint64_t seed = 21; seed <= 24; ++seed) {
    ContractCase test = random_case(seed, GetParam().dtype);
    if (seed == 24) {  // four blocks add to each dq
      test.problem = {.seq_q = 40, .seq_k = 500, .head_dim = 64};
      test.blocks = {};
    }
    prepare(test);
    const OracleResult ahead = run_contract(row(), test);
    device().set_descending(true);
    const OracleResult back = run_contract(row(), test);
    device().set_descending(false);
    EXPECT_EQ(ahead.out, back.out) << "seed " << seed;
    EXPECT_EQ(ahead.lse, back.lse) << "seed " << seed;
    EXPECT_EQ(ahead.dk, back.dk) << "seed " << seed;
    EXPECT_EQ(ahead.dv, back.dv) << "seed " << seed;
    EXPECT_EQ(ahead.dsink, back.dsink) << "seed " << seed;
    if (!sums_in_any_order()) {
      EXPECT_EQ(ahead.dq, back.dq) << "seed " << seed;
    }
    EXPECT_LT(relative_error(ahead.dq, back.dq, std::max(largest(back.dq), test.gradient_scale)), 1e-6) << "seed " << seed;
    if (seed == 24 && sums_in_any_order()) {
      EXPECT_NE(ahead.dq, back.dq) << "nobody added in the opposite order";
    }
  }
}

/// Uploads that come late must hold up kernels, kernels that come late the next upload and all downloads: events say so.
TEST_P(Emulated, LateCopiesAndLateKernelsChangeNoBit) {
  for (std::uint64_t seed = 41; seed <= 44; ++seed) {
    ContractCase test = random_case(seed, GetParam().dtype);
    test.problem.seq_k = 90;
    test.problem.alibi_slopes.assign(static_cast<std::size_t>(test.problem.heads), 0.03F);
    test.problem.sink.assign(static_cast<std::size_t>(test.problem.heads), 0.7F);
    test.blocks = cut_blocks(90, {10, 40, 60, 70});
    prepare(test);
    const OracleResult prompt = run_contract(row(), test);
    for (const Line late : {Line::copies, Line::kernels}) {
      device().set_late(late);
      const OracleResult tardy = run_contract(row(), test);
      device().set_late(std::nullopt);
      const std::string what = "seed " + std::to_string(seed) + (late == Line::copies ? ", copies" : ", kernels");
      EXPECT_EQ(prompt.out, tardy.out) << what;
      EXPECT_EQ(prompt.lse, tardy.lse) << what;
      EXPECT_EQ(prompt.dq, tardy.dq) << what;
      EXPECT_EQ(prompt.dk, tardy.dk) << what;
      EXPECT_EQ(prompt.dv, tardy.dv) << what;
      EXPECT_EQ(prompt.dsink, tardy.dsink) << what;
    }
  }
}

/// The second block is uploaded while the first kernel waits to begin; the third must wait for that kernel.
TEST_P(Emulated, OneBlockIsUploadedAhead) {
  const std::vector<std::byte> zeros(std::size_t{64} * 64 * 8);
  const kernels::BlockShape shape{.rows = 64, .dtype = GetParam().dtype};
  const std::vector<kernels::RowSpan> spans(64, {0, 64, 1});
  Workers workers(1);
  BufferPool memory;
  kernels::Problem problem;
  problem.q_rows = 64;
  problem.dtype = GetParam().dtype;
  const auto pass = row().forward(problem,
                                  dense_view(zeros.data(), GetParam().dtype, 1, 64, 1, 64), {workers, memory});
  device().set_late(Line::kernels);
  const auto pending_after_a_block = [&] {
    pass->attend({.shape = shape, .packed = zeros.data(), .positions = {}}, {.spans = spans}, {});
    return device().pending(Line::kernels);
  };
  const std::int64_t first = pending_after_a_block();
  const std::int64_t second = pending_after_a_block();
  const std::int64_t third = pending_after_a_block();
  device().set_late(std::nullopt);
  EXPECT_GT(first, 0);
  EXPECT_GT(second, first);
  EXPECT_LE(third, second);
}

TEST_P(Emulated, LateSinksReachRowsWithoutKeys) {
  std::vector<std::byte> rows(std::size_t{4} * 64 * 8);
  std::vector<float> lse(4);
  const std::vector<float> sink{0.5F};
  Workers workers(1);
  BufferPool memory;
  device().set_late(Line::copies);
  kernels::Problem problem;
  problem.q_rows = 4;
  problem.dtype = GetParam().dtype;
  problem.sink = sink;
  const auto pass = row().forward(problem,
                                  dense_view(rows.data(), GetParam().dtype, 1, 4, 1, 64), {workers, memory});
  pass->finish(dense_view(rows.data(), GetParam().dtype, 1, 4, 1, 64), dense_stats(lse.data(), 1, 1, 4));
  device().set_late(std::nullopt);
  EXPECT_EQ(lse, std::vector<float>(4, 0.5F));
}

TEST_P(Emulated, FullDevicesSayHowFull) {
  ContractCase test = random_case(51, GetParam().dtype);
  prepare(test);
  device().set_capacity(20000);
  try {
    run_contract(row(), test);
    ADD_FAILURE() << "20000 bytes sufficed";
  } catch (const ResourceError& error) {
    EXPECT_EQ(error.code(), ExitCode::resources);
    EXPECT_NE(std::string(error.what()).find("of 20000 are free"), std::string::npos) << error.what();
  }
  device().set_capacity(std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(device().used(), 0);
}

/// The carry goes through memory in f32: cutting the keys into ring steps costs next to nothing, and does not add up.
TEST_P(Emulated, StepsAddNoError) {
  ContractCase test = random_case(31, GetParam().dtype);
  test.problem.seq_q = 70;
  test.problem.seq_k = 256;
  test.problem.head_dim = 64;
  test.problem.mask = {};
  test.blocks = {};
  prepare(test);
  const OracleResult want = oracle(test.problem, test.tensors);
  const OracleResult once = run_contract(row(), test, false);
  test.blocks = cut_blocks(256, {32, 64, 96, 128, 160, 192, 224});
  const OracleResult steps = run_contract(row(), test, false);
  const double error = relative_error(once.out, want.out);
  EXPECT_LE(relative_error(steps.out, want.out), 1.2 * error + 1e-6) << "one call: " << error;
}

/// Five row tiles for each of two heads that share keys, of unequal length: under plain scores with a window, two without
/// keys in the first block; under general ones without, some of whole and masked tiles in the second.
ContractCase rows_of_many_tiles(DType dtype, std::int64_t head_dim, bool general) {
  ContractCase test;
  test.dtype = dtype;
  test.problem = {.seq_q = 520, .seq_k = 520, .heads = 2, .head_dim = head_dim, .mask = {.causal = true}};
  if (general) test.problem.softcap = 3;
  if (!general) test.problem.mask.left = 140;
  test.blocks = cut_blocks(520, {130});
  prepare(test);
  return test;
}

/// One processor walks through all row tiles; of 100 none has two of them.
void expect_same_bits_on_any_device(const ContractCase& test, const std::string& what) {
  EmulatedDevice& device = emulated_device(true);
  const OracleResult few = run_contract(emulated_table(true), test, false);
  for (const int processors : {1, 3, 100}) {
    device.set_processors(processors);
    device.set_descending(processors == 3);
    const OracleResult got = run_contract(emulated_table(true), test, false);
    EXPECT_EQ(few.out, got.out) << what << ", " << processors << " processors";
    EXPECT_EQ(few.lse, got.lse) << what << ", " << processors << " processors";
  }
  device.set_processors(EmulatedDevice::few_processors);
  device.set_descending(false);
}

TEST(EmulatedHopper, BlocksThatStayWalkThroughAllRowTiles) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    for (const std::int64_t head_dim : {64, 128, 256}) {
      for (const bool general : {false, true}) {
        const std::string what = std::string(name(dtype)) + ", head_dim " + std::to_string(head_dim);
        expect_same_bits_on_any_device(rows_of_many_tiles(dtype, head_dim, general), what + (general ? ", general" : ""));
      }
    }
  }
}

TEST(EmulatedRow, RefusesHeadDimsByName) {
  for (const std::int64_t head_dim : {1, 12, 264}) {
    const kernels::BlockShape shape{.rows = 4, .head_dim = head_dim};
    try {
      emulated_table().packed_bytes(shape, kernels::Direction::forward);
      FAIL() << head_dim << " was not refused";
    } catch (const UsageError& error) {
      EXPECT_NE(std::string(error.what()).find("cuda"), std::string::npos);
      EXPECT_NE(std::string(error.what()).find("head_dim " + std::to_string(head_dim)), std::string::npos);
    }
  }
}

TEST(EmulatedRow, SizesAreChecked) {
  const std::int64_t huge = std::int64_t{1} << 40;
  const kernels::BlockShape block{.batch = huge, .rows = huge, .kv_heads = 2, .head_dim = 64};
  EXPECT_THROW(emulated_table().packed_bytes(block, kernels::Direction::forward), ResourceError);
  kernels::Problem problem;
  problem.q_rows = huge;
  problem.heads = huge;
  EXPECT_THROW(emulated_table().pass_bytes(problem, kernels::Direction::forward), ResourceError);
  EXPECT_THROW(emulated_table().pass_bytes(problem, kernels::Direction::backward), ResourceError);
}

INSTANTIATE_TEST_SUITE_P(All, Emulated, testing::ValuesIn(suite_backends()), backend_name);

}  // namespace
}  // namespace annulus::test
