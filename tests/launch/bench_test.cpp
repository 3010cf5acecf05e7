/// `annulus bench`: its report keeps the contract; the figures themselves are nobody's business here.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "kernels/cuda/cudnn_attention.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/simd/peak.hpp"
#include "launch/bench/options.hpp"
#include "launch/bench/peer.hpp"
#include "launch/bench/targets.hpp"
#include "launch/samples.hpp"
#include "tests/launch/program.hpp"

namespace annulus::test {
namespace {

/// Runs a bench of tiny shapes and returns its report.
nlohmann::json tiny_bench(int np, std::vector<std::string> extra) {
  std::vector<std::string> words{"bench", "--rows", "40", "--head-dim", "16", "--samples", "2", "--report", "-"};
  words.insert(words.end(), extra.begin(), extra.end());
  const Outcome outcome = run_program(np, words);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  return nlohmann::json::parse(outcome.out);
}

void expect_positive(const nlohmann::json& entry, const char* key) { EXPECT_GT(entry[key].get<double>(), 0) << key; }

TEST(Bench, ReportsEveryKernelOfTheShape) {
  const nlohmann::json report = tiny_bench(0, {"--backward"});
  EXPECT_EQ(report["command"], "bench");
  EXPECT_EQ(report["ranks"], 1);
  expect_positive(report["peak_gflops"], "f32");
  const nlohmann::json& bf16_peak = report["peak_gflops"]["bf16"];
  EXPECT_EQ(bf16_peak.is_null(), kernels::simd::bf16_multiply_add_burst(1) == 0);
  if (!bf16_peak.is_null()) expect_positive(report["peak_gflops"], "bf16");
  for (const char* absent : {"steps", "window", "ring", "io", "exchange", "tflops", "targets"})
    EXPECT_TRUE(report[absent].is_null()) << absent;
  std::set<std::string> kinds;
  for (const nlohmann::json& entry : report["kernels"]) {
    EXPECT_EQ(entry["backend"], kernels::kernel_table("auto", *parse_dtype(entry["dtype"].get<std::string>())).name);
    EXPECT_NE(report["backend"].get<std::string>().find(entry["backend"].get<std::string>()), std::string::npos);
    EXPECT_EQ(entry["head_dim"], 16);
    expect_positive(entry, "gflops");
    expect_positive(entry, "fraction");
    kinds.insert(entry["dtype"].get<std::string>() + entry["mask"].get<std::string>() +
                 entry["direction"].get<std::string>() + (entry["whole"].get<bool>() ? "whole" : ""));
  }
  EXPECT_EQ(report["kernels"].size(), 16U);
  EXPECT_EQ(kinds.size(), 16U) << "2 types x 2 masks x 2 directions x with and without packing, each once";
}

TEST(Bench, ChainsSteps) {
  const nlohmann::json report = tiny_bench(0, {"--backward", "--dtype", "f32", "--steps", "3"});
  ASSERT_EQ(report["steps"].size(), 4U) << "2 masks x 2 directions";
  for (const nlohmann::json& entry : report["steps"]) {
    EXPECT_EQ(entry["steps"], 3);
    expect_positive(entry, "of_one_call");
  }
}

/// The keys of one call, cut: the same pairs, so the same flops, and no row too few or too many.
TEST(Bench, StepsVisitThePairsOfOneCall) {
  for (const bool causal : {false, true}) {
    launch::KernelShape shape{.table = &kernels::kernel_table("portable", DType::f32),
                              .rows = 37,
                              .head_dim = 8,
                              .mask = {.causal = causal},
                              .direction = kernels::Direction::backward};
    const double once = launch::KernelBench(shape).flops();
    EXPECT_EQ(once, 10.0 * 8 * (causal ? 37 * 38 / 2 : 37 * 37));
    shape.steps = 5;
    launch::KernelBench steps(shape);
    EXPECT_EQ(steps.flops(), once);
    EXPECT_GT(steps.run().attend, 0);
  }
}

TEST(Bench, ComparesWithTheTargets) {
  const nlohmann::json report = tiny_bench(0, {"--compare", "--dtype", "bf16", "--sliding-window", "16"});
  ASSERT_EQ(report["targets"].size(), 20U);
  ASSERT_EQ(report["window"].size(), 2U) << "forward and backward";
  for (const nlohmann::json& entry : report["window"]) {
    EXPECT_EQ(entry["window"], 16);
    expect_positive(entry, "rate_vs_dense");
  }
  for (const nlohmann::json& entry : report["targets"]) {
    EXPECT_TRUE(entry["measured"].is_null()) << "head_dim 16, a window of 16 and one rank have no target, no folder was given";
    EXPECT_EQ(entry["reached"], "not measured");
  }
}

TEST(Bench, TargetsTakeTheLowestOfTheirMeasurements) {
  launch::KernelRate rate;
  rate.shape = {.table = &kernels::kernel_table("auto", DType::f32), .dtype = DType::f32, .rows = 1024, .head_dim = 128};
  rate.peak.add(100);
  rate.attend.add(99);
  rate.whole.add(93);
  const auto first = [](const std::vector<launch::Target>& targets) {
    for (const launch::Target& target : targets) {
      if (target.measured) return target;
    }
    return launch::Target{};
  };
  const launch::Target reached = first(launch::compare({rate}, {}, {}, {}));
  EXPECT_EQ(reached.metric, "one core, forward f32 d128");
  EXPECT_EQ(reached.measured, 0.93) << "packing included";
  EXPECT_STREQ(reached.reached(), "target");
  launch::KernelRate slower = rate;
  slower.whole = {};
  slower.whole.add(90);
  EXPECT_STREQ(first(launch::compare({rate, slower}, {}, {}, {})).reached(), "floor");
  slower.whole = {};
  slower.whole.add(81);
  EXPECT_STREQ(first(launch::compare({rate, slower}, {}, {}, {})).reached(), "below the floor");
  slower.shape.rows = 1023;
  EXPECT_FALSE(first(launch::compare({slower}, {}, {}, {})).measured) << "small shapes are mostly packing";
  slower.shape.rows = 1024;
  slower.shape.table = &kernels::kernel_table("portable", DType::f32);
  EXPECT_FALSE(first(launch::compare({slower}, {}, {}, {})).measured) << "the targets speak of the best row";
  rate.shape.mask.causal = true;
  EXPECT_FALSE(first(launch::compare({rate}, {}, {}, {})).measured) << "the targets speak of full masks";

  launch::RingRate ring;
  ring.shape = {.rows_per_rank = 1024};
  ring.ranks = 2;
  ring.efficiency.add(0.95);
  EXPECT_EQ(first(launch::compare({}, {}, {ring}, {})).metric, "2 ranks, forward f32 d64");
  ring.shape.rows_per_rank = 1023;
  EXPECT_FALSE(first(launch::compare({}, {}, {ring}, {})).measured);
  ring.shape.rows_per_rank = 1024;
  ring.own_cores = false;
  EXPECT_FALSE(first(launch::compare({}, {}, {ring}, {})).measured) << "more threads than cores";
  ring.own_cores = true;
  ring.ranks = 3;
  EXPECT_FALSE(first(launch::compare({}, {}, {ring}, {})).measured);

  launch::IoRates io;
  io.shape.bytes_per_rank = 64 << 20;
  io.directions[1].fraction.add(0.9);
  io.directions[0].fraction.add(0.79);
  io.directions[2].fraction.add(0.1);
  launch::IoRates quicker = io;
  quicker.directions[0].fraction.add(1.5);
  const auto targets = launch::compare({}, {}, {}, {quicker, io});
  EXPECT_EQ(targets[18].metric, "checkpoint write against plain calls");
  EXPECT_STREQ(targets[18].reached(), "below the floor");
  EXPECT_EQ(targets[19].measured, 0.9) << "verifying after a save is no target";
  io.shape.bytes_per_rank -= 1;
  EXPECT_FALSE(first(launch::compare({}, {}, {}, {io})).measured) << "small files are mostly fsync";
}

TEST(Bench, MeasuresSeveralLengths) {
  const Outcome outcome = run_program(
      plainly, {"bench", "--rows", "24,40", "--head-dim", "8", "--dtype", "f32", "--samples", "1", "--steps", "2", "--report", "-"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const nlohmann::json report = nlohmann::json::parse(outcome.out);
  for (const char* table : {"kernels", "steps"}) {
    std::multiset<int> lengths;
    for (const nlohmann::json& entry : report[table]) lengths.insert(entry["rows"].get<int>());
    const std::size_t each = std::string(table) == "kernels" ? 4 : 2;
    EXPECT_EQ(lengths.size(), 2 * each);
    EXPECT_EQ(lengths.count(24), each) << "2 masks, and kernels with and without packing";
  }
  EXPECT_EQ(report["seq_len"], 40);
  EXPECT_EQ(run_program(plainly, {"bench", "--rows", "40,24"}).code, 2) << "they ascend";
}

/// `bench --backend cuda` alone measures all that a GPU is asked for.
TEST(Bench, HasDefaultsOfAGpu) {
  launch::BenchOptions options;
  EXPECT_EQ(options.lengths(), (std::vector<std::int64_t>{1536}));
  EXPECT_EQ(options.step_count(), 0);
  EXPECT_TRUE(options.windows().empty());
  EXPECT_EQ(options.window_rows(256), 2048);
  EXPECT_EQ(options.window_heads(), 1);
  options.attention.backend = "cuda";
  EXPECT_EQ(options.lengths(), (std::vector<std::int64_t>{2048, 8192, 16384}));
  EXPECT_EQ(options.dtypes(), (std::vector<DType>{DType::bf16, DType::f16}));
  EXPECT_EQ(options.head_dims(), (std::vector<std::int64_t>{64, 128, 256}));
  EXPECT_EQ(options.directions().size(), 2U);
  EXPECT_EQ(options.step_count(), 8);
  EXPECT_EQ(options.windows(), (std::vector<std::int64_t>{1024, 256}));
  EXPECT_EQ(options.window_rows(256), 16384) << "a GPU idles over 8 windows of 256";
  EXPECT_EQ(options.window_heads(), options.head_count());
  options.rows = {512};
  EXPECT_EQ(options.lengths(), options.rows);
  EXPECT_EQ(options.window_rows(256), 512);
  EXPECT_EQ(options.window_rows(1024), 1024);
}

/// A row of a GPU, as if measured.
const kernels::KernelTable& gpu_row() {
  static const kernels::KernelTable row = [] {
    kernels::KernelTable table = kernels::kernel_table("portable", DType::f32);
    table.name = "cuda";
    table.take_device_seconds = [] { return 0.0; };
    return table;
  }();
  return row;
}

TEST(Bench, PutsAPeerBesideEveryKernel) {
  launch::KernelRate ours;
  ours.shape = {.table = &gpu_row(), .dtype = DType::bf16, .rows = 16384, .heads = 16, .head_dim = 128};
  ours.attend.add(600'000);
  launch::KernelRate f32 = ours;
  f32.shape.dtype = DType::f32;
  launch::PeerRate peer{ours.shape, {}, {}, 0.004, {}};
  peer.gflops.add(500'000);
  peer.ours_to_theirs.add(1.2);
  launch::PeerRate refused{ours.shape, {}, {}, 0, "no engine for this"};
  EXPECT_EQ(launch::has_peer(ours.shape), kernels::cuda::has_cudnn());
  EXPECT_FALSE(launch::has_peer(f32.shape)) << "cuDNN fuses 16-bit attention";
  launch::KernelShape steps = ours.shape;
  steps.steps = 8;
  EXPECT_FALSE(launch::has_peer(steps));

  const std::string alone = launch::gpu_table({ours}, {});
  EXPECT_NE(alone.find("600.0"), std::string::npos) << alone;
  EXPECT_EQ(alone.find("cudnn"), std::string::npos) << alone;
  if (kernels::cuda::has_cudnn()) {
    const std::string table = launch::gpu_table({f32, ours, ours}, {peer, refused});
    for (const char* word : {"500.0", "1.20", "4.0e-03", "no engine for this"}) {
      EXPECT_NE(table.find(word), std::string::npos) << word << "\n" << table;
    }
  }
  const launch::Json entries = launch::peers_to_json({peer, refused});
  EXPECT_EQ(entries[0]["ours_to_theirs"], 1.2);
  EXPECT_EQ(entries[0]["gflops"], 500'000);
  EXPECT_TRUE(entries[0]["refusal"].is_null());
  EXPECT_TRUE(entries[1]["gflops"].is_null());
  EXPECT_EQ(entries[1]["refusal"], "no engine for this");
}

TEST(Bench, ComparesAGpuWithTheTargetsOfAnH100) {
  launch::KernelRate rate;
  rate.shape = {.table = &gpu_row(), .dtype = DType::bf16, .rows = 16384, .heads = 16, .head_dim = 128, .mask = {.causal = true}};
  rate.attend.add(500'000);
  launch::StepsRate steps{rate.shape, {}};
  steps.shape.rows = 8192;
  steps.shape.steps = 8;
  steps.of_one_call.add(0.97);
  launch::WindowRate window{{&gpu_row(), DType::bf16, 16384, 16, 128, 1024, kernels::Direction::forward}, {}};
  window.rate_vs_dense.add(0.8);
  const std::vector<launch::Target> targets = launch::compare_gpu({rate}, {steps}, {window});
  std::set<std::string> reached;
  for (const launch::Target& target : targets) {
    if (target.measured) reached.insert(target.metric + ": " + target.reached());
  }
  EXPECT_EQ(targets.size(), 8U);
  EXPECT_EQ(reached, (std::set<std::string>{"H100, forward bf16 d128 causal at 16k: floor",
                                            "H100, chained steps forward at 8k against one call: target",
                                            "window of 1024 against dense: below the floor"}));
  EXPECT_NE(launch::target_table(targets).find("500 TFLOP/s"), std::string::npos) << launch::target_table(targets);
  rate.shape.head_dim = 64;
  steps.shape.rows = 16384;
  window.shape.dtype = DType::f16;
  for (const launch::Target& target : launch::compare_gpu({rate}, {steps}, {window})) EXPECT_FALSE(target.measured) << target.metric;
}

TEST(Bench, ComparesAllBackends) {
  std::set<std::string> backends;
  const nlohmann::json report = tiny_bench(0, {"--backend", "all", "--dtype", "f16"});
  for (const nlohmann::json& entry : report["kernels"]) {
    EXPECT_EQ(entry["dtype"], "f16");
    backends.insert(entry["backend"].get<std::string>());
  }
  EXPECT_TRUE(backends.contains("portable"));
  EXPECT_FALSE(backends.contains("reference"));
}

TEST(Bench, ReportsTheRingOfSeveralRanks) {
  const nlohmann::json report =
      tiny_bench(3, {"--backward", "--dtype", "f32", "--exchange", "messages", "--threads", "1", "--deterministic"});
  EXPECT_EQ(report["ranks"], 3);
  EXPECT_EQ(report["deterministic"], true);
  EXPECT_EQ(report["peak_rss_bytes"].size(), 3U);
  ASSERT_EQ(report["ring"].size(), 2U);
  EXPECT_EQ(report["ring"][0]["direction"], "forward");
  EXPECT_EQ(report["ring"][1]["direction"], "backward");
  for (const nlohmann::json& entry : report["ring"]) {
    EXPECT_EQ(entry["ranks"], 3);
    EXPECT_EQ(entry["rows_per_rank"], 40);
    EXPECT_EQ(entry["layout"], "zigzag");
    EXPECT_EQ(entry["exchange"], "messages");
    expect_positive(entry, "efficiency");
    EXPECT_GE(entry["exposed_comm_fraction"].get<double>(), 0);
    EXPECT_LE(entry["exposed_comm_fraction"].get<double>(), 1);
  }
}

TEST(Bench, MeasuresCheckpointsAndLeavesNoFile) {
  const Folder folder;
  for (const int np : {plainly, 3}) {
    const nlohmann::json report =
        tiny_bench(np, {"--dtype", "f32", "--checkpoint-folder", folder / ".", "--checkpoint-bytes", "3M"});
    std::set<std::string> ways;
    for (const nlohmann::json& entry : report["io"]) {
      EXPECT_EQ(entry["ranks"], np == 3 ? 3 : 1);
      EXPECT_EQ(entry["bytes_per_rank"], 3 << 20);
      expect_positive(entry, "bytes_per_second");
      expect_positive(entry, "plain_bytes_per_second");
      expect_positive(entry, "fraction");
      ways.insert(entry["direction"].get<std::string>() + " " + entry["layout"].get<std::string>());
    }
    EXPECT_EQ(report["io"].size(), ways.size());
    for (const char* way : {"write contiguous", "read contiguous", "verify contiguous"}) EXPECT_TRUE(ways.contains(way));
    EXPECT_EQ(ways.size(), np == 3 ? 9U : 3U) << "3 ways x 3 layouts; one rank has all rows in each layout";
    EXPECT_TRUE(folder.names().empty()) << *folder.names().begin();
  }
}

TEST(Bench, RefusesFoldersAndSizesOfNoUse) {
  const Folder folder;
  const auto refusal = [&](const std::string& path, const char* bytes) {
    const Outcome outcome = run_program(plainly, {"bench", "--rows", "8", "--head-dim", "8", "--samples", "1", "--dtype",
                                                  "f32", "--checkpoint-folder", path, "--checkpoint-bytes", bytes});
    EXPECT_EQ(outcome.messages().size(), 1U) << outcome.err;
    EXPECT_TRUE(folder.names().empty()) << *folder.names().begin();
    return outcome.code;
  };
  EXPECT_EQ(refusal(folder / "absent", "1M"), 4);
  EXPECT_EQ(refusal("/proc", "1M"), 4);
  EXPECT_EQ(refusal(folder / ".", "1000G"), 4) << "no such memory";
  rlimit usual{};
  getrlimit(RLIMIT_FSIZE, &usual);
  const rlimit small{std::size_t{64} << 20, usual.rlim_max};  // MPI has files of its own
  setrlimit(RLIMIT_FSIZE, &small);
  EXPECT_EQ(refusal(folder / ".", "128M"), 4) << "a disk without room";
  setrlimit(RLIMIT_FSIZE, &usual);
  for (const char* nonsense : {"0", "-1M", "1000", "much", "9223372036854775807"}) {
    EXPECT_EQ(refusal(folder / ".", nonsense), nonsense[0] == '9' ? 4 : 2) << nonsense;
  }
  EXPECT_EQ(run_program(plainly, {"bench", "--checkpoint-bytes", "1M"}).code, 2) << "where?";
}

TEST(Bench, PrintsATableForPeople) {
  const Outcome outcome =
      run_program(plainly, {"bench", "--rows", "8", "--head-dim", "8", "--samples", "1", "--dtype", "f32"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  for (const char* word : {"f32 peak", "with packing", "causal", "forward"}) {
    EXPECT_NE(outcome.out.find(word), std::string::npos) << word;
  }
}

TEST(Bench, RefusesWhatNoKernelTakes) {
  const std::vector<std::vector<std::string>> misuses{{"--head-dim", "257"},
                                                      {"--backend", "all", "--dtype", "f64"},
                                                      {"--backend", "abacus"},
                                                      {"--samples", "0"},
                                                      {"--rows", "-1"}};
  for (std::vector<std::string> words : misuses) {
    words.insert(words.begin(), "bench");
    EXPECT_EQ(run_program(plainly, words).code, 2) << words[1] << " " << words[2];
  }
  EXPECT_EQ(run_program(plainly, {"bench", "--rows", "1G"}).code, 4) << "24 TiB";
}

TEST(Samples, KnowTheirOrderStatistics) {
  launch::Samples samples;
  for (const double x : {5.0, 1.0, 4.0, 2.0, 3.0}) samples.add(x);
  EXPECT_EQ(samples.median(), 3);
  EXPECT_EQ(samples.quantile(0), 1);
  EXPECT_EQ(samples.quantile(1), 5);
  EXPECT_EQ(samples.quantile(0.25), 2);
  samples.add(6);
  EXPECT_EQ(samples.median(), 3.5);
}

}  // namespace
}  // namespace annulus::test
