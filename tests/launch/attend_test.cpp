/// `attend` equals the oracle for any number of ranks, type, layout and exchange, and tells the truth about itself.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/launch/attend_files.hpp"
#include "tests/launch/program.hpp"
#include "tests/support/compare.hpp"

namespace annulus::test {
namespace {

struct Example {
  const char* name;
  int np;
  AttendCase attend;
  std::vector<std::string> options;
  DType dtype = DType::f32;  ///< computed and stored in
};

OracleProblem small(std::int64_t seq_q, std::int64_t seq_k) {
  return {.batch = 2, .seq_q = seq_q, .seq_k = seq_k, .heads = 4, .kv_heads = 2, .head_dim = 8};
}

/// Everything at once: documents, ALiBi, a sink, softcap, a scale.
OracleProblem rich() {
  OracleProblem problem = small(37, 37);
  problem.mask = {.causal = true, .cu_seqlens = {0, 5, 5, 20, 37}};
  problem.softmax_scale = 0.5;
  problem.softcap = 20;
  problem.alibi_slopes = {0.5F, 0.25F, 0.125F, 0.0625F};
  problem.sink = {0.5F, -1, 0, 2};
  return problem;
}

OracleProblem causal(std::int64_t seq_q, std::int64_t seq_k) {
  OracleProblem problem = small(seq_q, seq_k);
  problem.mask.causal = true;
  return problem;
}

OracleProblem masked(const OracleMask& mask) {
  OracleProblem problem = small(67, 67);
  problem.mask = mask;
  return problem;
}

const std::vector<std::string> rich_options{"--causal", "--softmax-scale", "0.5", "--softcap", "20", "--backward"};

std::vector<std::string> operator+(std::vector<std::string> words, const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

const std::vector<Example> examples{
    {"alone", plainly, {small(19, 19)}, {}},
    {"one_rank", 1, {small(19, 19)}, {"--backward"}},
    {"two_ranks_zigzag", 2, {causal(41, 41)}, {"--causal", "--backward"}},
    {"three_ranks_striped", 3, {causal(41, 41)}, {"--causal", "--backward", "--layout", "striped"}},
    {"four_ranks_messages", 4, {rich()}, rich_options + std::vector<std::string>{"--exchange", "messages"}},
    {"five_ranks_shared",
     5,
     {rich()},
     rich_options + std::vector<std::string>{"--exchange", "shared", "--layout", "contiguous"}},
    {"seven_ranks_more_keys", 7, {causal(10, 33)}, {"--causal", "--backward"}},
    {"eight_ranks_three_rows", 8, {small(3, 3)}, {"--backward"}},
    {"reference", 3, {rich()}, rich_options + std::vector<std::string>{"--backend", "reference", "--threads", "1"}},
    {"window_and_sinks",
     3,
     {masked({.causal = true, .left = 9, .right = 0, .sink_tokens = 2})},
     {"--sliding-window", "10", "--sink-tokens", "2", "--backward"}},
    {"two_sided_window_and_documents",
     2,
     {masked({.left = 5, .right = 3, .global_tokens = 1, .cu_seqlens = {0, 20, 67}})},
     {"--window-size", "5,3", "--global-tokens", "1", "--backward"}},
    {"open_window_chunks_and_stride",
     4,
     {masked({.causal = true, .left = -1, .right = 2, .chunk_size = 16, .stride = 7})},
     {"--window-size", "-1,2", "--causal", "--chunk-size", "16", "--stride", "7", "--layout", "striped"}},
    {"bf16", 3, {.problem = causal(41, 41), .type = "bf16"}, {"--causal", "--backward"}, DType::bf16},
    {"f16", 2, {.problem = small(23, 31), .type = "f16"}, {"--backward"}, DType::f16},
    {"stored_f64_computed_f32", 3, {.problem = small(19, 19), .type = "f64"}, {"--dtype", "f32", "--backward"}},
    {"f64",
     3,
     {.problem = rich(), .type = "f64"},
     rich_options + std::vector<std::string>{"--backend", "reference"},
     DType::f64},
};

class Attend : public testing::TestWithParam<Example> {
 protected:
  /// `got` of the output file against the oracle, by the tolerance of the dtype that was computed in.
  void expect_close(const char* dataset, const std::vector<double>& want, const std::vector<double>& plain) const {
    const auto got = read_plain(folder_ / "out.h5", dataset);
    ASSERT_TRUE(got) << dataset;
    const double allowed =
        allowed_error(GetParam().dtype, max_abs_score_, plain.empty() ? 0 : relative_error(plain, want));
    EXPECT_LE(relative_error(got->values, want), allowed) << dataset;
  }

  Folder folder_;
  double max_abs_score_ = 0;
};

TEST_P(Attend, EqualsTheOracle) {
  const Example& example = GetParam();
  const OracleProblem& problem = example.attend.problem;
  write_attend_input(folder_ / "in.h5", example.attend);
  const Outcome outcome = run_program(
      example.np, std::vector<std::string>{"attend", folder_ / "in.h5", folder_ / "out.h5"} + example.options);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  OracleTensors tensors = stored_tensors(folder_ / "in.h5");
  const bool backward =
      std::find(example.options.begin(), example.options.end(), "--backward") != example.options.end();
  if (!backward) tensors.dout.clear();
  const OracleResult truth = oracle(problem, tensors);
  const bool narrow = example.dtype == DType::bf16 || example.dtype == DType::f16;
  const OracleResult plain = narrow ? plain_attention_rounded(problem, tensors, example.dtype) : OracleResult();
  max_abs_score_ = truth.max_abs_score;
  EXPECT_EQ(read_plain(folder_ / "out.h5", "out")->type, name(example.dtype));
  expect_close("out", truth.out, plain.out);
  expect_close("lse", truth.lse, plain.lse);
  if (backward) {
    expect_close("dq", truth.dq, plain.dq);
    expect_close("dk", truth.dk, plain.dk);
    expect_close("dv", truth.dv, plain.dv);
    if (!problem.sink.empty()) expect_close("dsink", truth.dsink, plain.dsink);
  }
  EXPECT_EQ(read_plain(folder_ / "out.h5", "dq").has_value(), backward);
  EXPECT_EQ(folder_.names(), (std::set<std::string>{"in.h5", "out.h5"}));
}

INSTANTIATE_TEST_SUITE_P(Runs, Attend, testing::ValuesIn(examples),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(AttendBits, DoNotDependOnTheExchangeOrTheThreads) {
  const Folder folder;
  write_attend_input(folder / "in.h5", {.problem = rich()});
  std::vector<std::vector<double>> results;
  for (const std::vector<std::string>& how : {std::vector<std::string>{"--exchange", "messages", "--threads", "1"},
                                              {"--exchange", "shared", "--threads", "1"},
                                              {"--exchange", "shared", "--threads", "3"},
                                              {"--exchange", "shared", "--threads", "1", "--deterministic"}}) {
    const Outcome outcome =
        run_program(3, std::vector<std::string>{"attend", folder / "in.h5", folder / "out.h5"} + rich_options + how);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    std::vector<double> all;
    for (const char* dataset : {"out", "lse", "dq", "dk", "dv", "dsink"}) {
      const std::vector<double> values = read_plain(folder / "out.h5", dataset)->values;
      all.insert(all.end(), values.begin(), values.end());
    }
    results.push_back(all);
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
  EXPECT_EQ(results[0], results[3]) << "CPU backends are deterministic in any case";
}

TEST(AttendReport, HoldsTheContract) {
  const Folder folder;
  write_attend_input(folder / "in.h5", {.problem = causal(41, 41)});
  const Outcome outcome =
      run_program(3, {"attend", folder / "in.h5", folder / "out.h5", "--causal", "--backward", "--exchange", "messages",
                      "--threads", "1", "--deterministic", "--report", folder / "report.json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  std::ifstream file(folder / "report.json");
  const nlohmann::json report = nlohmann::json::parse(file);
  EXPECT_EQ(report["command"], "attend");
  EXPECT_EQ(report["ranks"], 3);
  EXPECT_EQ(report["threads"], 1);
  EXPECT_EQ(report["exchange"], "messages");
  EXPECT_EQ(report["deterministic"], true);
  EXPECT_EQ(report["layout"], "zigzag") << "auto, causal";
  EXPECT_EQ(report["seq_len"], 41);
  EXPECT_TRUE(report["verify"].is_null());
  EXPECT_TRUE(report["digest"].is_null());
  EXPECT_EQ(report["peak_rss_bytes"].size(), 3U);
  for (const auto& bytes : report["peak_rss_bytes"]) EXPECT_GT(bytes, 1 << 20);
  ASSERT_EQ(report["layers"].size(), 2U);
  const double pairs = 2.0 * 4 * (41 * 42 / 2);  // batch, heads, causal
  EXPECT_EQ(report["layers"][0]["direction"], "forward");
  EXPECT_EQ(report["layers"][0]["flops"], 4 * 8 * pairs);
  EXPECT_EQ(report["layers"][1]["direction"], "backward");
  EXPECT_EQ(report["layers"][1]["flops"], 10 * 8 * pairs);
  EXPECT_EQ(report["layers"][0]["messages"], 6) << "three ranks, two hops";
  EXPECT_GT(report["layers"][0]["bytes_sent"], 0);
  EXPECT_GT(report["seconds"], 0);
  EXPECT_GT(report["tflops"], 0);
}

TEST(AttendReport, TellsOfLocalMasks) {
  const Folder folder;
  write_attend_input(folder / "in.h5", {.problem = masked({})});
  const auto layer_of = [&](const std::vector<std::string>& mask) {
    const Outcome outcome =
        run_program(2, std::vector<std::string>{"attend", folder / "in.h5", folder / "out.h5", "--report", "-"} + mask);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    const nlohmann::json report = nlohmann::json::parse(outcome.out);
    EXPECT_EQ(report["layout"], "contiguous");
    EXPECT_EQ(report["layers"][0]["kind"], "local");
    return report["layers"][0];
  };
  const nlohmann::json sliding = layer_of({"--sliding-window", "10"});
  EXPECT_EQ(sliding["window"], (nlohmann::json{9, 0}));
  EXPECT_EQ(sliding["flops"], 4.0 * 8 * 2 * 4 * (67 * 10 - 10 * 9 / 2));
  EXPECT_EQ(layer_of({"--window-size", "1k,-1"})["window"], (nlohmann::json{1024, -1}));
  EXPECT_TRUE(layer_of({"--causal", "--chunk-size", "16"})["window"].is_null());
}

TEST(AttendReport, GoesToStandardOutputAlone) {
  const Folder folder;
  write_attend_input(folder / "in.h5", {});
  const Outcome outcome = run_program(2, {"attend", folder / "in.h5", folder / "out.h5", "--report", "-"});
  EXPECT_EQ(nlohmann::json::parse(outcome.out)["ranks"], 2) << outcome.out;
  EXPECT_EQ(outcome.err, "");
}

TEST(AttendText, IsPrintedOnceWithoutAProgressLine) {
  const Folder folder;
  write_attend_input(folder / "in.h5", {});
  const Outcome outcome = run_program(3, {"attend", folder / "in.h5", folder / "out.h5"});
  EXPECT_EQ(outcome.err, "") << "a batch log holds no progress line";
  EXPECT_NE(outcome.out.find("TFLOP/s"), std::string::npos) << outcome.out;
  EXPECT_EQ(outcome.out.find("backend"), outcome.out.rfind("backend")) << outcome.out;
}

}  // namespace
}  // namespace annulus::test
