/// Every backend through its contract against the oracle: shapes, views, masks and scores.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "tests/kernels/available_backends.hpp"
#include "tests/kernels/contract_case.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/random_tensors.hpp"

namespace annulus::test {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

class Backends : public testing::TestWithParam<BackendParam> {
 protected:
  const kernels::KernelTable& table() const { return *GetParam().table; }
  /// Two query heads over one kv head and a mask that leaves no tile whole.
  ContractCase small_case(std::int64_t seq_q, std::int64_t seq_k, std::int64_t head_dim) const {
    ContractCase test;
    test.problem = {.seq_q = seq_q,
                    .seq_k = seq_k,
                    .heads = 2,
                    .kv_heads = 1,
                    .head_dim = GetParam().fit(head_dim),
                    .mask = {.causal = true}};
    test.dtype = GetParam().dtype;
    return test;
  }
};

TEST_P(Backends, HeadDims) {
  for (const std::int64_t head_dim : {1, 3, 7, 16, 40, 64, 80, 96, 128, 200, 256}) {
    ContractCase test = small_case(45, 71, head_dim);
    test.blocks = cut_blocks(71, {19, 19, 64});
    judge(table(), test, "head_dim " + std::to_string(head_dim));
  }
}

TEST_P(Backends, OddExtents) {
  const std::vector<std::pair<std::int64_t, std::int64_t>> extents{{1, 1},   {1, 70}, {3, 2},     {7, 33},   {12, 32},
                                                                   {13, 65}, {97, 3}, {193, 259}, {31, 600}, {401, 31}};
  for (const auto& [seq_q, seq_k] : extents) {
    ContractCase test = small_case(seq_q, seq_k, 24);
    test.blocks = cut_blocks(seq_k, {seq_k / 3, seq_k / 2});
    test.gradient_scale = 1;  // rows that see one key have ds = 0, the rest of a cancellation
    judge(table(), test, std::to_string(seq_q) + " queries, " + std::to_string(seq_k) + " keys");
  }
}

TEST_P(Backends, GroupsOfHeads) {
  const std::vector<std::pair<std::int64_t, std::int64_t>> heads{{8, 8}, {8, 2}, {8, 1}, {6, 3}, {28, 4}, {9, 3}};
  for (const auto& [q_heads, kv_heads] : heads) {
    ContractCase test = small_case(21, 40, 20);
    test.problem.batch = 2;
    test.problem.heads = q_heads;
    test.problem.kv_heads = kv_heads;
    judge(table(), test, std::to_string(q_heads) + " heads on " + std::to_string(kv_heads));
  }
}

TEST_P(Backends, HeadReadsItsOwnGroup) {
  ContractCase test = small_case(9, 17, 8);
  test.problem.heads = 6;
  test.problem.kv_heads = 3;
  test.gradient_scale = 1;  // equal values: ds cancels to nothing
  for (std::int64_t i = 0; i < 17 * 3 * 8; ++i) test.tensors.v.push_back(static_cast<double>(i / 8 % 3));
  const OracleResult got = judge(table(), test, "v of kv head h is h");
  for (std::size_t i = 0; i < got.out.size(); ++i) EXPECT_NEAR(got.out[i], static_cast<double>(i / 8 % 6 / 2), 1e-2);
}

TEST_P(Backends, GapsAroundAndInsideViews) {
  ContractCase test = small_case(37, 70, 33);
  test.problem.batch = 2;
  test.problem.kv_heads = 2;
  test.blocks = cut_blocks(70, {31});
  test.gaps = Gaps::everywhere;
  judge(table(), test, "strided");
}

TEST_P(Backends, ResultsInAnotherType) {
  for (const DType result : {DType::f32, DType::bf16, DType::f16}) {
    ContractCase test = small_case(30, 50, 16);
    test.result_dtype = result;
    judge(table(), test, std::string(name(result)));
  }
}

TEST_P(Backends, GradientsOfOutputsInAnotherType) {
  for (const std::int64_t head_dim : {16, 33}) {
    ContractCase test = small_case(30, 50, head_dim);
    test.deterministic = true;
    const OracleResult want = judge(table(), test, "dout like q");
    test.dout_dtype = test.dtype == DType::f64 ? DType::f64 : DType::f32;  // the same numbers
    const OracleResult got = judge(table(), test, "wider dout");
    EXPECT_EQ(got.dq, want.dq);
    EXPECT_EQ(got.dk, want.dk);
    EXPECT_EQ(got.dv, want.dv);
  }
}

TEST_P(Backends, ManyTiles) {
  ContractCase test = small_case(530, 611, 64);
  test.blocks = cut_blocks(611, {300});
  test.workers = 2;
  judge(table(), test, "causal");
}

TEST_P(Backends, DocumentsHideTilesAndRows) {
  ContractCase test = small_case(330, 330, 16);
  test.problem.mask.cu_seqlens = {0, 1, 1, 70, 71, 200, 329, 330};
  test.blocks = cut_blocks(330, {60, 75, 210});
  judge(table(), test, "causal documents");
  test.problem.mask.causal = false;
  judge(table(), test, "documents");
}

/// Every rule of DESIGN section 5 alone and with others, over blocks whose edges cut tiles and windows.
const std::vector<std::pair<const char*, OracleMask>> local_masks{
    {"window", {.left = 40, .right = 9}},
    {"causal window", {.causal = true, .left = 70}},
    {"window of one token", {.left = 0, .right = 0}},
    {"window open to the left", {.left = -1, .right = 3}},
    {"chunks", {.chunk_size = 37}},
    {"causal chunks and window", {.causal = true, .left = 20, .right = 0, .chunk_size = 64}},
    {"sinks far from the window", {.causal = true, .left = 30, .right = 0, .sink_tokens = 4}},
    {"global tokens", {.left = 10, .right = 10, .global_tokens = 3}},
    {"causal stride", {.causal = true, .left = 12, .right = 0, .stride = 7}},
    {"stride longer than a tile", {.left = 5, .right = 5, .stride = 270}},
    {"all of them", {.left = 9, .right = 4, .chunk_size = 50, .sink_tokens = 2, .global_tokens = 5, .stride = 11}},
    {"all of them in documents",
     {.causal = true, .left = 9, .sink_tokens = 2, .global_tokens = 5, .stride = 3, .cu_seqlens = {0, 7, 190, 430}}},
};

TEST_P(Backends, LocalMasks) {
  for (const auto& [what, mask] : local_masks) {
    ContractCase test = small_case(430, 430, 24);
    test.problem.mask = mask;
    test.blocks = cut_blocks(430, {60, 75, 290});
    test.workers = 2;
    judge(table(), test, what);
  }
}

TEST_P(Backends, StrideAcrossWholeTiles) {
  ContractCase test = small_case(600, 600, 24);
  test.problem.mask = {.causal = true, .left = 12, .stride = 7};
  judge(table(), test, "causal stride");
}

TEST_P(Backends, KeysBetweenSinksAndWindowAreNotRead) {
  ContractCase test = small_case(64, 2000, 16);
  test.problem.mask = {.causal = true, .left = 50, .sink_tokens = 4};
  prepare(test);
  const std::size_t first = 1024 * 16;  // whole tiles of any backend
  const std::size_t last = 1792 * 16;
  for (std::size_t i = first; i < last; ++i) test.tensors.k[i] = test.tensors.v[i] = NAN;
  const OracleResult got = run_contract(table(), test);
  for (const auto* results : {&got.out, &got.dq}) {
    for (const double x : *results) ASSERT_TRUE(std::isfinite(x));
  }
  for (std::size_t i = first; i < last; ++i) ASSERT_EQ(got.dk[i], 0);
}

TEST_P(Backends, RowsThatSeeNothing) {
  ContractCase test = small_case(100, 40, 24);  // queries 0..59 stand before all keys
  test.blocks = cut_blocks(40, {7});
  const OracleResult got = judge(table(), test, "more queries than keys");
  for (std::size_t i = 0; i < 60 * 2 * 24; ++i) {
    ASSERT_EQ(got.out[i], 0);
    ASSERT_EQ(got.dq[i], 0);
  }
  for (std::size_t i = 0; i < 60; ++i) ASSERT_EQ(got.lse[i], -infinity);
}

TEST_P(Backends, KeysThatNobodySees) {
  ContractCase test = small_case(20, 60, 16);
  test.problem.seq_q = 60;
  test.problem.mask = {.causal = false, .cu_seqlens = {0, 60}};
  test.blocks = cut_blocks(60, {30});
  prepare(test);
  test.problem.mask.cu_seqlens = {0, 10, 60};
  test.blocks = {test.blocks[0]};  // the second block never comes: queries 30.. see 20 keys, all gradients stay finite
  const OracleResult got = run_contract(table(), test);
  for (const double x : got.dk) ASSERT_TRUE(std::isfinite(x));
  for (std::size_t i = 30 * 16; i < got.dk.size(); ++i) ASSERT_EQ(got.dk[i], 0);
}

TEST_P(Backends, NoQueries) {
  ContractCase test = small_case(0, 40, 16);
  prepare(test);
  const OracleResult got = run_contract(table(), test);
  EXPECT_TRUE(got.out.empty() && got.lse.empty() && got.dq.empty());
  for (const double x : got.dk) ASSERT_EQ(x, 0);
  for (const double x : got.dv) ASSERT_EQ(x, 0);
}

TEST_P(Backends, NoKeysAtAll) {
  ContractCase test = small_case(5, 0, 16);
  test.problem.sink = {0.5F, -1};
  prepare(test);
  const OracleResult got = run_contract(table(), test);
  for (const double x : got.out) ASSERT_EQ(x, 0);
  for (const double x : got.dq) ASSERT_EQ(x, 0);
  for (std::size_t i = 0; i < 10; ++i) ASSERT_EQ(got.lse[i], i < 5 ? 0.5 : -1);
  EXPECT_EQ(got.dsink, (std::vector<double>{0, 0}));
}

TEST_P(Backends, ScoreRules) {
  ContractCase test = small_case(50, 77, 32);
  test.problem.batch = 2;
  test.blocks = cut_blocks(77, {40});
  test.problem.softmax_scale = 0.3;
  judge(table(), test, "softmax_scale");
  test.problem.softcap = 2;
  judge(table(), test, "softcap");
  test.problem.alibi_slopes = {0.5F, 0.0625F};
  judge(table(), test, "softcap, ALiBi");
  test.problem.softcap = 0;
  judge(table(), test, "ALiBi");
  test.problem.sink = {1.5F, -2};
  judge(table(), test, "ALiBi, sink");
  test.problem.alibi_slopes.clear();
  judge(table(), test, "sink");
  test.problem.softmax_scale = -0.2;
  judge(table(), test, "negative scale");
  test.problem.softmax_scale = 0.0;
  test.gradient_scale = 1;
  judge(table(), test, "scale 0");
}

TEST_P(Backends, SinkOfRowsThatSeeNothing) {
  ContractCase test = small_case(30, 20, 16);
  test.problem.sink = {3, -std::numeric_limits<float>::infinity()};
  const OracleResult got = judge(table(), test, "sinks 3 and -inf");
  EXPECT_EQ(got.lse[0], 3);
  EXPECT_EQ(got.lse[30], -infinity);
}

TEST_P(Backends, WorkersChangeNoBit) {
  ContractCase test = small_case(230, 300, 40);
  test.problem.heads = 6;
  test.problem.kv_heads = 3;
  test.blocks = cut_blocks(300, {100});
  test.deterministic = true;
  prepare(test);
  const OracleResult alone = run_contract(table(), test);
  test.workers = 3;
  const OracleResult team = run_contract(table(), test);
  EXPECT_EQ(alone.out, team.out);
  EXPECT_EQ(alone.lse, team.lse);
  EXPECT_EQ(alone.dq, team.dq);
  EXPECT_EQ(alone.dk, team.dk);
  EXPECT_EQ(alone.dv, team.dv);
}

TEST_P(Backends, PartsChangeNoBit) {
  for (const int workers : {1, 3}) {
    ContractCase test = small_case(150, 1000, 24);
    test.problem.batch = test.problem.kv_heads = 2;
    test.problem.heads = 4;
    test.problem.mask.left = 300;
    test.blocks = cut_blocks(1000, {700});
    test.workers = workers;
    test.deterministic = true;
    prepare(test);
    const OracleResult whole = run_contract(table(), test);
    for (const std::int64_t tiles : {1, 2, 3}) {
      test.part_tiles = tiles;
      const OracleResult parts = run_contract(table(), test);
      for (const auto member : {&OracleResult::dq, &OracleResult::dk, &OracleResult::dv}) {
        EXPECT_EQ(parts.*member, whole.*member) << tiles << " tiles, " << workers << " workers";
      }
    }
  }
}

TEST_P(Backends, ProgressComesFromTheCallingThread) {
  ContractCase test = small_case(512, 512, 64);
  test.problem.heads = 4;
  test.problem.mask.causal = false;
  prepare(test);
  const auto caller = std::this_thread::get_id();
  int calls = 0;
  bool foreign = false;
  const Progress progress = [&] {
    foreign = foreign || std::this_thread::get_id() != caller;
    ++calls;
  };
  run_contract(table(), test, true, progress);
  EXPECT_GT(calls, 0);
  test.workers = 3;  // how often depends on who draws which task; from where does not
  run_contract(table(), test, true, progress);
  EXPECT_FALSE(foreign);
}

INSTANTIATE_TEST_SUITE_P(All, Backends, testing::ValuesIn(suite_backends()), backend_name);

}  // namespace
}  // namespace annulus::test
