/// `annulus run` as a user meets it: what it computes, reports and writes.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>

#include "tests/launch/program.hpp"
#include "tests/launch/run_words.hpp"
#include "tests/runtime/checkpoint/plain_hdf5.hpp"
#include "tests/support/compare.hpp"

namespace annulus::test {
namespace {

using Json = nlohmann::json;

Json read_json(const std::string& path) {
  std::ifstream file(path);
  return Json::parse(file);
}

TEST(Run, ReportsEveryFieldOfTheContract) {
  const Folder folder;
  const std::string input = write_text(folder, "text", 700);
  const std::string report = folder / "report.json";
  const Outcome outcome = run_program(3, run_words(input, {"--layers", "2", "--verify", "5", "--backward", "--exchange",
                                                           "messages", "--report", report}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Json json = read_json(report);
  EXPECT_EQ(json.at("command"), "run");
  EXPECT_TRUE(json.at("version").is_string());
  EXPECT_EQ(json.at("ranks"), 3);
  EXPECT_GE(json.at("threads").get<int>(), 1);
  EXPECT_TRUE(json.at("backend").is_string());
  EXPECT_EQ(json.at("exchange"), "messages");
  EXPECT_EQ(json.at("layout"), "zigzag");
  EXPECT_EQ(json.at("seq_len"), 700);
  EXPECT_GT(json.at("seconds").get<double>(), 0);
  EXPECT_GT(json.at("tflops").get<double>(), 0);
  EXPECT_EQ(json.at("peak_rss_bytes").size(), 3U);
  EXPECT_EQ(json.at("verify").at("rows"), 5);
  EXPECT_LT(json.at("verify").at("max_rel_error").get<double>(), 1e-5);
  EXPECT_TRUE(json.at("verify").at("max_abs_error").is_number());
  EXPECT_EQ(json.at("digest").get<std::string>().size(), 16U);
  EXPECT_EQ(json.at("gradient_digest").get<std::string>().size(), 16U);
  ASSERT_EQ(json.at("layers").size(), 4U);
  // Two hops of three ranks: a block each in forward; in backward also the gradients, which take a third hop home in up to eight
  // parts (the backend's tiles say in how many), and rank 1's high chunk, which nobody sees any more, comes straight home from rank 0.
  const double pairs = 700.0 * 701 / 2;
  for (const Json& layer : json.at("layers")) {
    const bool forward = layer.at("direction") == "forward";
    EXPECT_EQ(layer.at("kind"), "global");
    EXPECT_TRUE(layer.at("window").is_null());
    EXPECT_GE(layer.at("messages"), forward ? 6 : 6 + 6 + 3 + 1);
    EXPECT_LE(layer.at("messages"), forward ? 6 : 6 + 6 + 3 * 8 + 1);
    const std::int64_t whole = 2 * 2 * 700 * 2 * 16 * 4;  // k and v, two hops
    EXPECT_GE(layer.at("bytes_sent").get<std::int64_t>(), whole * 3 / 4) << "a quarter need not travel";
    EXPECT_LT(layer.at("bytes_sent").get<std::int64_t>(), forward ? whole : 3 * whole) << "forward or not";
    EXPECT_DOUBLE_EQ(layer.at("flops").get<double>(), (forward ? 4 : 10) * pairs * 2 * 16);
    EXPECT_GT(layer.at("seconds").get<double>(), 0);
    EXPECT_GE(layer.at("exposed_comm_seconds").get<double>(), 0);
  }
}

TEST(Run, VerifiesLocalMasksInEveryLayout) {
  const Folder folder;
  const std::string input = write_text(folder, "text", 300);
  for (const char* layout : {"auto", "zigzag", "striped"}) {
    const Outcome outcome = run_program(
        3, run_words(input, {"--sliding-window", "40", "--sink-tokens", "3", "--stride", "16", "--layout", layout,
                             "--layers", "1", "--verify", "60", "--report", folder / "report.json"}));
    ASSERT_EQ(outcome.code, 0) << layout << ": " << outcome.err;
    const Json json = read_json(folder / "report.json");
    EXPECT_EQ(json.at("layers")[0].at("kind"), "local");
    EXPECT_EQ(json.at("layers")[0].at("window"), (Json{39, 0}));
    EXPECT_EQ(json.at("layout"), std::string(layout) == "auto" ? "contiguous" : layout);
  }
}

TEST(Run, GivesTheSameDigestForBothExchangesAndAnyThreads) {
  const Folder folder;
  const std::string input = write_text(folder, "text", 500);
  std::set<std::string> digests;
  for (const char* exchange : {"shared", "messages"}) {
    for (const char* threads : {"1", "2"}) {
      const std::string report = folder / "report.json";
      const Outcome outcome =
          run_program(3, run_words(input, {"--exchange", exchange, "--threads", threads, "--report", report}));
      ASSERT_EQ(outcome.code, 0) << outcome.err;
      digests.insert(read_json(report).at("digest").get<std::string>());
    }
  }
  EXPECT_EQ(digests.size(), 1U);
}

/// The stored activations of a run over these tokens, and its report.
std::pair<PlainDataset, Json> stored_run(int np, const std::string& input, std::vector<std::string> extra) {
  const Folder folder;
  extra.insert(extra.end(), {"--output", folder / "x.h5", "--report", folder / "report.json"});
  const Outcome outcome = run_program(np, run_words(input, extra));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return {read_plain(folder / "x.h5", "x").value(), read_json(folder / "report.json")};
}

TEST(Run, DigestsTheBytesThatItStores) {
  const Folder folder;
  const auto [x, report] = stored_run(3, write_text(folder, "text", 101), {"--layout", "striped"});
  EXPECT_EQ(x.type, "f32");
  EXPECT_EQ(x.dims, (std::vector<std::int64_t>{1, 101, 32}));
  const std::vector<float> stored(x.values.begin(), x.values.end());
  EXPECT_EQ(report.at("digest"), fmt::format("{:016x}", XXH64(stored.data(), stored.size() * sizeof(float), 0)));
}

TEST(Run, GivesEarlierRowsTheSameWhateverFollows) {
  const Folder folder;
  const std::string input = write_text(folder, "text", 90);
  const std::vector<double> part = stored_run(2, input, {"--seq-len", "40"}).first.values;
  const std::vector<double> whole = stored_run(3, input, {}).first.values;
  EXPECT_LT(relative_error(part, std::span(whole).first(part.size()), largest(part)), 1e-5);
  const std::vector<double> unmasked = stored_run(3, input, {"--no-causal"}).first.values;
  EXPECT_GT(relative_error(part, std::span(unmasked).first(part.size()), largest(part)), 1e-3);
}

TEST(Run, ReadsActivationsFromHdf5InTheirType) {
  const Folder folder;
  std::vector<double> values(2 * 21 * 32);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<double>(i));
  const std::string path = folder / "x.h5";
  write_plain(path, {{"acts", "bf16", {2, 21, 32}, values}});
  const auto [x, report] = stored_run(3, path + ":/acts", {"--verify", "9", "--backward"});
  EXPECT_EQ(x.type, "bf16");
  EXPECT_EQ(x.dims, (std::vector<std::int64_t>{2, 21, 32}));
  EXPECT_EQ(report.at("batch"), 2);
  EXPECT_EQ(report.at("model").at("dtype"), "bf16");
}

TEST(Run, PassesVerificationInEveryType) {
  const Folder folder;
  const std::string input = write_text(folder, "text", 333);
  for (const char* dtype : {"f32", "bf16", "f16"}) {
    const Outcome outcome = run_program(3, run_words(input, {"--dtype", dtype, "--verify", "20", "--report", "-"}));
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const Json json = Json::parse(outcome.out);  // nothing but the report goes to standard output
    EXPECT_EQ(json.at("verify").at("rows"), 20);
    EXPECT_TRUE(json.at("gradient_digest").is_null());
  }
}

TEST(Run, TakesThreeTokensOnEightRanks) {
  const Folder folder;
  const Outcome outcome = run_program(8, run_words(write_text(folder, "text", 3), {"--verify", "3", "--backward"}));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
}

/// Kind and window of every forward layer, such as "L[15,0] G".
std::string layers_of(const Json& report) {
  std::string text;
  for (const Json& layer : report.at("layers")) {
    if (layer.at("direction") != "forward") continue;
    text += layer.at("kind") == "local" ? " L" : " G";
    if (!layer.at("window").is_null()) text += layer.at("window").dump();
  }
  return text;
}

TEST(Run, RunsModelsWhoseLayersDiffer) {
  const std::vector<std::pair<const char*, const char*>> models{
      {"tiny-mistral", " L[63,0] L[63,0] L[63,0] L[63,0]"},
      {"tiny-gemma3", " L[31,0] L[31,0] L[31,0] L[31,0] L[31,0] G"},
      {"tiny-gpt-oss", " L[15,0] G L[15,0] G"},
      {"tiny-llama", " G G"}};
  const Folder folder;
  const std::string input = write_text(folder, "text", 300);
  for (const auto& [model, layers] : models) {
    const std::string path = folder / "report.json";
    const Outcome outcome =
        run_program(3, {"run", "--input", input, "--model", model, "--verify", "9", "--backward", "--report", path});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const Json report = read_json(path);
    EXPECT_EQ(layers_of(report), layers);
    EXPECT_EQ(report.at("model").at("preset"), model);
    const bool has_local = std::string(layers).find('L') != std::string::npos;
    EXPECT_EQ(outcome.out.find("window  ") != std::string::npos, has_local) << outcome.out;
  }
}

TEST(Run, GivesEachLayerOfAPatternItsWindow) {
  const Folder folder;
  const std::string input = write_text(folder, "text", 300);
  for (const char* halo : {"resident", "exchange"}) {
    const Outcome outcome = run_program(
        3, run_words(input, {"--pattern", "L8L64GL", "--sliding-window", "20", "--layers", "5", "--layout", "contiguous",
                             "--local-halo", halo, "--verify", "99", "--backward", "--report", "-"}));
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const Json report = Json::parse(outcome.out);
    EXPECT_EQ(layers_of(report), " L[7,0] L[63,0] G L[19,0] L[7,0]");
  }
}

/// Activations of three documents, with their bounds beside them unless `list` is another name.
std::string write_documents(const Folder& folder, const std::string& list) {
  std::vector<double> values(90 * 32);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<double>(i * i % 1009));
  std::string path = folder / (list + ".h5");
  write_plain(path, {{"x", "f32", {1, 90, 32}, values}, {list, "i64", {4}, {0, 31, 60, 90}}});
  return path;
}

TEST(Run, KeepsDocumentsApart) {
  const Folder folder;
  const std::string beside = write_documents(folder, "cu_seqlens");
  const std::string apart = write_documents(folder, "bounds");
  const std::vector<std::string> mask{"--pattern", "L8G", "--verify", "90"};
  const auto with = [&](std::vector<std::string> extra) {
    extra.insert(extra.end(), mask.begin(), mask.end());
    return extra;
  };
  const auto [x, report] = stored_run(3, beside + ":/x", with({}));
  EXPECT_EQ(report.at("layers")[1].at("documents"), 3);
  EXPECT_EQ(report.at("model").at("documents").at("count"), 3);
  const auto named = stored_run(3, apart + ":/x", with({"--cu-seqlens", apart + ":/bounds"}));
  EXPECT_EQ(named.second.at("digest"), report.at("digest"));
  const auto ignored = stored_run(3, apart + ":/x", with({}));
  EXPECT_NE(ignored.second.at("digest"), report.at("digest"));
  EXPECT_TRUE(ignored.second.at("model").at("documents").is_null());
  const auto [first, cut] = stored_run(2, beside + ":/x", with({"--seq-len", "40"}));
  EXPECT_EQ(cut.at("model").at("documents").at("count"), 2) << "the second is cut";
  EXPECT_LT(relative_error(first.values, std::span(x.values).first(first.values.size()), largest(x.values)), 1e-5);
  const std::span<const double> alone(ignored.first.values);
  EXPECT_LT(relative_error(alone.first(31 * 32), std::span(x.values).first(31 * 32), largest(x.values)), 1e-5)
      << "nothing is before the first document";
}

TEST(Run, WritesTheGradientOfItsInput) {
  const Folder folder;
  const Outcome outcome =
      run_program(3, run_words(write_text(folder, "text", 80), {"--dtype", "bf16", "--backward", "--output",
                                                                folder / "x.h5", "--report", folder / "report.json"}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const PlainDataset dx = read_plain(folder / "x.h5", "dx").value();
  EXPECT_EQ(dx.type, "f32");
  EXPECT_EQ(dx.dims, (std::vector<std::int64_t>{1, 80, 32}));
  const std::vector<float> stored(dx.values.begin(), dx.values.end());
  EXPECT_EQ(read_json(folder / "report.json").at("gradient_digest"),
            fmt::format("{:016x}", XXH64(stored.data(), stored.size() * sizeof(float), 0)));
}

/// Spans of one rank, by begin; of two that begin together the longer first.
std::vector<Json> spans_of(const Json& trace, int rank) {
  std::vector<Json> spans;
  for (const Json& event : trace.at("traceEvents")) {
    if (event.at("ph") == "X" && event.at("pid") == rank) spans.push_back(event);
  }
  std::stable_sort(spans.begin(), spans.end(), [](const Json& a, const Json& b) {
    return std::pair(a.at("ts").get<double>(), -a.at("dur").get<double>()) <
           std::pair(b.at("ts").get<double>(), -b.at("dur").get<double>());
  });
  return spans;
}

TEST(Run, TracesEveryRankOnOneClock) {
  const Folder folder;
  const Outcome outcome = run_program(
      3, run_words(write_text(folder, "text", 500), {"--pattern", "GL300", "--local-halo", "exchange", "--exchange",
                                                     "messages", "--trace", folder / "trace.json", "--report",
                                                     folder / "report.json"}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("waiting for ranks"), std::string::npos) << outcome.out;
  const Json trace = read_json(folder / "trace.json");
  std::int64_t bytes = 0;
  double last_begin = 0;  // of the first layer, in which every rank needs a block of every other one
  double first_end = std::numeric_limits<double>::max();
  for (int rank = 0; rank < 3; ++rank) {
    const std::vector<Json> spans = spans_of(trace, rank);
    std::multiset<std::string> names;
    std::vector<double> open;  // ends of the spans around the next one
    for (const Json& span : spans) {
      constexpr double rounding = 2e-3;  // microseconds, two roundings to three digits
      const double begin = span.at("ts");
      const double end = begin + span.at("dur").get<double>();
      while (!open.empty() && open.back() <= begin + rounding) open.pop_back();
      EXPECT_TRUE(open.empty() || end <= open.back() + rounding) << span.dump() << " ends after what holds it";
      open.push_back(end);
      names.insert(span.at("name"));
      if (span.contains("args")) bytes += span.at("args").at("bytes").get<std::int64_t>();
      if (span.at("name") != "forward layer 0") continue;
      last_begin = std::max(last_begin, begin);
      first_end = std::min(first_end, end);
    }
    for (const char* name : {"forward layer 0", "forward layer 1"}) EXPECT_EQ(names.count(name), 1U) << name;
    for (const char* name : {"block of rank 0", "block of rank 1", "block of rank 2", "own keys", "rows of round 0"})
      EXPECT_EQ(names.count(name), 1U) << name;
  }
  EXPECT_LT(last_begin, first_end) << "no rank can end the layer before the last one begins it";
  std::int64_t sent = 0;
  const Json report = read_json(folder / "report.json");
  for (const Json& layer : report.at("layers")) sent += layer.at("bytes_sent").get<std::int64_t>();
  EXPECT_EQ(bytes, sent);
}

TEST(Run, SendsTheRowsThatGlobalTokensNeedAndNoBlocks) {
  const Folder folder;
  const std::string input = write_text(folder, "text", 700);
  for (const char* halo : {"auto", "exchange"}) {
    const Outcome outcome = run_program(
        3,
        run_words(input, {"--no-causal", "--window-size", "8,8", "--global-tokens", "2", "--pattern", "L", "--layout",
                          "contiguous", "--local-halo", halo, "--verify", "9", "--backward", "--report", "-"}));
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const Json report = Json::parse(outcome.out);
    for (const Json& layer : report.at("layers")) {
      const bool forward = layer.at("direction") == "forward";
      // Keys for 8 rows each side of two edges and for 2 columns on two ranks; 2 queries visit two ranks.
      const int keys = 4 * 8 + 2 * 2;
      const int key = 2 * 2 * 16 * 4;
      const int query = 2 * 16 * 4;
      const int lse = 2 * 4;
      EXPECT_EQ(layer.at("messages"), forward ? 5 + 2 : 5 + 5);
      EXPECT_EQ(layer.at("bytes_sent"), keys * key * (forward ? 1 : 2) + 4 * (query * (forward ? 2 : 4) + lse));
    }
  }
}

TEST(Run, ReportsTheModelItRan) {
  const Folder folder;
  const std::string input = write_text(folder, "text", 40);
  const Outcome outcome =
      run_program(plainly, {"run", "--input", input, "--model", "tiny-gpt-oss", "--pattern", "LLG", "--layers", "3", "--heads",
                      "4", "--rope-factor", "2", "--residual-alpha", "0.25", "--report", "-"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Json report = Json::parse(outcome.out);
  EXPECT_EQ(layers_of(report), " L[15,0] L[15,0] G");
  const Json& model = report.at("model");
  EXPECT_EQ(model.at("pattern"), "LLG");
  EXPECT_EQ(model.at("heads"), 4);
  EXPECT_EQ(model.at("residual_alpha"), 0.25);
  EXPECT_EQ(model.at("learned_sinks"), true);
  const Json yarn{{"theta", 150000.0}, {"scaling", "yarn"}, {"factor", 2.0}, {"original", 4096}};
  EXPECT_EQ(model.at("rope"), yarn);
  EXPECT_EQ(model.at("local_rope"), yarn);
}

TEST(Run, WeighsTheResidual) {
  const Folder folder;
  const std::string input = write_text(folder, "text", 60);
  const auto values = [&](const std::vector<std::string>& extra) { return stored_run(plainly, input, extra).first.values; };
  const std::vector<double> tokens = values({"--residual-alpha", "1", "--layers", "1"});
  EXPECT_EQ(values({"--residual-alpha", "1", "--layers", "4"}), tokens) << "layers add nothing";
  const std::vector<double> layer = values({"--residual-alpha", "0", "--layers", "1"});
  std::vector<double> sum(tokens.size());
  std::transform(tokens.begin(), tokens.end(), layer.begin(), sum.begin(), std::plus<>{});
  EXPECT_LT(relative_error(values({"--layers", "1"}), sum, largest(sum)), 1e-6);
}

TEST(Run, TurnsQueriesAndKeysAsAsked) {
  const Folder folder;
  const std::string input = write_text(folder, "text", 90);
  std::set<std::string> digests;
  const auto add = [&](const std::vector<std::string>& extra) {
    digests.insert(stored_run(plainly, input, extra).second.at("digest").get<std::string>());
  };
  add({});
  add({"--rope-theta", "10000"});
  add({"--rope-scaling", "ntk", "--rope-factor", "1"});
  EXPECT_EQ(digests.size(), 1U) << "these say the default";
  add({"--rope-theta", "500"});
  for (const char* scaling : {"linear", "ntk"}) add({"--rope-scaling", scaling, "--rope-factor", "4"});
  for (const char* scaling : {"yarn", "llama3"}) {
    add({"--rope-scaling", scaling, "--rope-factor", "4", "--rope-original", "64", "--verify", "9"});
  }
  EXPECT_EQ(digests.size(), 6U);
}

TEST(Run, DryRunPlansWhatNoMachineHolds) {
  const Outcome outcome = run_program(plainly, {"run", "--dry-run", "--seq-len", "1G"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("1073741824"), std::string::npos) << outcome.out;
}

}  // namespace
}  // namespace annulus::test
