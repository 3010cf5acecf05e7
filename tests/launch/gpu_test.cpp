/// The program on a GPU: one rank, and several that share it, against the oracle.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "kernels/cuda/cudnn_attention.hpp"
#include "tests/launch/attend_files.hpp"
#include "tests/launch/program.hpp"
#include "tests/launch/run_words.hpp"
#include "tests/support/compare.hpp"

namespace annulus::test {
namespace {

using Json = nlohmann::json;

struct Example {
  const char* name;
  DType dtype;
  std::int64_t head_dim;
  bool causal = false;
  std::int64_t window = 0;  ///< --sliding-window; 0: none

  OracleMask mask() const {
    OracleMask mask;
    mask.causal = causal || window > 0;
    if (window > 0) mask.left = window - 1;
    if (window > 0) mask.right = 0;
    return mask;
  }
  std::vector<std::string> options() const {
    std::vector<std::string> words;
    if (causal) words.push_back("--causal");
    if (window > 0) words.insert(words.end(), {"--sliding-window", std::to_string(window)});
    return words;
  }
};

constexpr Example examples[] = {
    {"full_bf16_d128", DType::bf16, 128},         {"causal_bf16_d64", DType::bf16, 64, true}, {"causal_f16_d256", DType::f16, 256, true},
    {"window_f16_d64", DType::f16, 64, false, 41}, {"causal_f32_d72", DType::f32, 72, true},
};

class AttendOnGpu : public testing::TestWithParam<Example> {
 protected:
  OracleProblem problem() const {
    return {.batch = 1, .seq_q = 301, .seq_k = 301, .heads = 4, .kv_heads = 2, .head_dim = GetParam().head_dim, .mask = GetParam().mask()};
  }
  /// Of each dataset, against the oracle.
  std::map<std::string, double> errors(int np, const OracleResult& truth) const {
    std::vector<std::string> words{"attend", folder_ / "in.h5", folder_ / "out.h5", "--backend", "cuda", "--backward"};
    for (const std::string& word : GetParam().options()) words.push_back(word);
    const Outcome outcome = run_program(np, words);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    std::map<std::string, double> found;
    for (const auto& [name, want] : datasets(truth)) {
      const auto got = read_plain(folder_ / "out.h5", name);
      found[name] = got ? relative_error(got->values, *want) : std::numeric_limits<double>::infinity();
    }
    return found;
  }
  static std::map<std::string, const std::vector<double>*> datasets(const OracleResult& result) {
    return {{"out", &result.out}, {"lse", &result.lse}, {"dq", &result.dq}, {"dk", &result.dk}, {"dv", &result.dv}};
  }

  Folder folder_;
};

TEST_P(AttendOnGpu, EqualsTheOracleHoweverManyRanksShareTheGpu) {
  const DType dtype = GetParam().dtype;
  write_attend_input(folder_ / "in.h5", {.problem = problem(), .type = std::string(name(dtype))});
  const OracleTensors tensors = stored_tensors(folder_ / "in.h5");
  const OracleResult truth = oracle(problem(), tensors);
  const OracleResult plain = dtype == DType::f32 ? truth : plain_attention_rounded(problem(), tensors, dtype);
  std::map<std::string, double> alone;
  for (const int np : {1, 2, 3}) {
    const auto found = errors(np, truth);
    if (np == 1) alone = found;
    for (const auto& [dataset, error] : found) {
      const double of_plain = relative_error(*datasets(plain).at(dataset), *datasets(truth).at(dataset));
      const double allowed = allowed_error(dtype, truth.max_abs_score, of_plain);
      EXPECT_LE(error, allowed) << dataset << " on " << np << " ranks";
      EXPECT_LE(error, 1.5 * alone[dataset] + f32_tolerance(truth.max_abs_score)) << dataset << ": errors grow with the steps";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Runs, AttendOnGpu, testing::ValuesIn(examples), 
                         [](const auto& tested) { return std::string(tested.param.name); });

/// Rows of every stage are recomputed in f64: also what cuBLAS projects, in builds that have it.
TEST(RunOnGpu, VerifiesHoweverManyRanksShareTheGpu) {
  const Folder folder;
  const std::string input = write_text(folder, "text", 5000);
  for (const int np : {1, 2, 3}) {
    for (const char* dtype : {"bf16", "f32"}) {
      const Outcome outcome = run_program(np, {"run", "--input", input, "--heads", "4", "--kv-heads", "2", "--head-dim", "64",
                                               "--layers", "2", "--pattern", "LG", "--sliding-window", "100", "--dtype", dtype,
                                               "--backend", "cuda", "--verify", "40", "--backward", "--report", "-"});
      ASSERT_EQ(outcome.code, 0) << np << " ranks, " << dtype << ": " << outcome.err;
      const Json report = Json::parse(outcome.out);
      EXPECT_EQ(report["backend"], "cuda");
      EXPECT_EQ(report["verify"]["rows"], 40);
    }
  }
}

TEST(BenchOnGpu, MeasuresAllThatAGpuIsAskedFor) {
  const Outcome outcome = run_program(plainly, {"bench", "--backend", "cuda", "--rows", "256,512", "--heads", "2", "--head-dim", "128",
                                                "--samples", "2", "--steps", "4", "--report", "-"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Json report = Json::parse(outcome.out);
  EXPECT_EQ(report["kernels"].size(), 32U) << "2 types x 2 lengths x 2 masks x 2 directions x with and without packing";
  for (const Json& entry : report["kernels"]) EXPECT_GT(entry["gflops"].get<double>(), 0) << entry;
  EXPECT_EQ(report["steps"].size(), 16U);
  for (const Json& entry : report["steps"]) EXPECT_GT(entry["of_one_call"].get<double>(), 0) << entry;
  EXPECT_EQ(report["window"].size(), 8U) << "2 windows x 2 types x 2 directions";
  for (const Json& entry : report["window"]) EXPECT_GT(entry["rate_vs_dense"].get<double>(), 0) << entry;
  EXPECT_EQ(report["peers"].size(), kernels::cuda::has_cudnn() ? 16U : 0U);
  for (const Json& entry : report["peers"]) {
    if (!entry["refusal"].is_null()) continue;  // cuDNN's own business
    EXPECT_GT(entry["gflops"].get<double>(), 0) << entry;
    EXPECT_LT(entry["difference"].get<double>(), 0.03) << entry;
  }
}

}  // namespace
}  // namespace annulus::test
