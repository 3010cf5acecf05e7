/// `annulus plan` as a user meets it: what fits, how long it takes, and what is refused.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "tests/launch/example_machine.hpp"
#include "tests/launch/refusal.hpp"
#include "tests/launch/run_words.hpp"

namespace annulus::test {
namespace {

using nlohmann::json;

Outcome plan(std::vector<std::string> words, int np = plainly) {
  words.insert(words.begin(), "plan");
  return run_program(np, words);
}

json plan_json(std::vector<std::string> words) {
  words.insert(words.end(), {"--report", "-"});
  const Outcome outcome = plan(words);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return json::parse(outcome.out, nullptr, false);
}

TEST(Plan, ListsMemoryItemByItem) {
  const json report = plan_json({"--seq-len", "4k,64k", "--ranks", "1,3,8"});
  ASSERT_EQ(report.at("points").size(), 6U);
  for (const json& point : report.at("points")) {
    std::uint64_t sum = 0;
    for (const auto& [item, bytes] : point.at("memory").items()) sum += bytes.get<std::uint64_t>();
    EXPECT_EQ(point.at("peak_bytes"), sum);
    EXPECT_TRUE(point.at("seconds").is_null()) << "there is no machine";
  }
  const Outcome one = plan({"--seq-len", "64k", "--ranks", "3"});
  EXPECT_NE(one.out.find("rings: blocks, carries, masks"), std::string::npos) << one.out;
  EXPECT_EQ(plan({"--seq-len", "4k,64k"}).out.find("rings: blocks"), std::string::npos);
}

TEST(Plan, PlansWhatRunPlans) {
  const Folder folder;
  const std::string input = write_text(folder, "input", 4096);
  const std::vector<std::string> shape{"--heads", "2", "--head-dim", "16", "--layers", "3", "--pattern", "LG", "--sliding-window", "64",
                                       "--backward", "--threads", "1", "--exchange", "messages"};
  std::vector<std::string> run{"run", "--input", input, "--dry-run"};
  run.insert(run.end(), shape.begin(), shape.end());
  std::vector<std::string> words{"--seq-len", "4k", "--ranks", "3"};
  words.insert(words.end(), shape.begin(), shape.end());
  const std::string sum = std::to_string(plan_json(words).at("points")[0].at("peak_bytes").get<std::uint64_t>());
  const Outcome dry = run_program(3, run);
  EXPECT_EQ(dry.code, 0) << dry.err;
  EXPECT_NE(dry.out.find(" " + sum + " "), std::string::npos) << sum << "\n" << dry.out;
}

TEST(Plan, FindsWhatJustFits) {
  const std::string budget = "200M";
  const json longest = plan_json({"--seq-len", "64k", "--ranks", "2,16", "--memory", budget}).at("longest_context");
  for (const json& found : longest) {
    const std::string ranks = std::to_string(found.at("ranks").get<int>());
    const auto peak = [&](std::int64_t tokens) {
      return plan_json({"--seq-len", std::to_string(tokens), "--ranks", ranks}).at("points")[0].at("peak_bytes").get<std::uint64_t>();
    };
    const auto tokens = found.at("seq_len").get<std::int64_t>();
    EXPECT_LE(peak(tokens), 200U << 20);
    EXPECT_GT(peak(tokens + 1024), 200U << 20);
  }
  EXPECT_GT(longest[1].at("seq_len"), longest[0].at("seq_len"));
  const json fewest = plan_json({"--seq-len", "256k", "--ranks", "1", "--memory", budget}).at("fewest_ranks")[0];
  const auto fits = [&](int ranks) {
    return plan_json({"--seq-len", "256k", "--ranks", std::to_string(ranks)}).at("points")[0].at("peak_bytes").get<std::uint64_t>() <=
           200U << 20;
  };
  EXPECT_TRUE(fits(fewest.at("ranks").get<int>()));
  EXPECT_FALSE(fits(fewest.at("ranks").get<int>() - 1));
}

TEST(Plan, SaysThatNothingFits) {
  const Outcome outcome = plan({"--seq-len", "64k", "--memory", "1k"});
  EXPECT_EQ(outcome.code, 0) << "that is an answer: " << outcome.err;
  EXPECT_NE(outcome.out.find("none"), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find("more than 16384"), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find("no\n"), std::string::npos) << outcome.out;
}

TEST(Plan, SaysWhereItStopsSearching) {
  const auto longest = [](const std::string& layout, const std::string& memory) {
    return plan({"--seq-len", "64k", "--ranks", "4", "--layout", layout, "--memory", memory}).out;
  };
  EXPECT_NE(longest("zigzag", "8000T").find("4  more than 1G"), std::string::npos) << longest("zigzag", "8000T");
  EXPECT_NE(longest("striped", "1t").find("4  more than 4M"), std::string::npos) << "planned piece by piece up to there";
  EXPECT_EQ(longest("zigzag", "1t").find("more than"), std::string::npos);
}

TEST(Plan, TakesSuffixesInEitherCase) {
  const auto within = [](const std::string& memory) {
    const std::string out = plan({"--seq-len", "4k", "--memory", memory}).out;
    const std::size_t at = out.find("Within ");
    return at == std::string::npos ? out : out.substr(at, out.find(" of memory", at) - at);
  };
  EXPECT_EQ(within("24m"), "Within 24.0 MiB");
  EXPECT_EQ(within("24M"), within("24m"));
  EXPECT_EQ(within("3g"), "Within 3.0 GiB");
  EXPECT_EQ(within("1T"), "Within 1.0 TiB");
  EXPECT_EQ(within("1t"), within("1T"));
  expect_refusal(plan({"--seq-len", "4k", "--memory", "1x"}), 2, "--memory '1x'");
  expect_refusal(plan({"--seq-len", "4k", "--memory", "9999999T"}), 2, "--memory '9999999T'");
}

TEST(Plan, ForecastsTimesOfAMachine) {
  const Folder folder;
  const std::string machine = write_machine(folder);
  const json report = plan_json({"--seq-len", "64k", "--ranks", "1,4,16", "--machine", machine, "--layers", "1"});
  EXPECT_EQ(report.at("machine"), "two nodes");
  const json& one = report.at("points")[0];
  const double attention = 4.0 * 64 * 4 * 65536.0 * 65537 / 2 / 1e11;
  EXPECT_GT(one.at("seconds"), attention);
  EXPECT_LT(one.at("seconds"), 1.05 * attention);
  EXPECT_EQ(one.at("layers")[0].at("bytes_sent"), 0);
  const json& sixteen = report.at("points")[2];
  EXPECT_EQ(sixteen.at("nodes"), 4);
  EXPECT_EQ(sixteen.at("exchange"), "nodes");
  EXPECT_GT(sixteen.at("layers")[0].at("bytes_sent"), 0);
  EXPECT_LT(sixteen.at("seconds"), one.at("seconds").get<double>() / 14);
  EXPECT_GT(sixteen.at("exposed_comm_seconds"), 0);
}

TEST(Plan, ComparesSchemesAndSaysWhy) {
  const Folder folder;
  const Outcome outcome = plan({"--seq-len", "64k", "--ranks", "8", "--machine", write_machine(folder), "--compare"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const std::size_t zigzag = outcome.out.find("zigzag, nodes", outcome.out.find("Schemes, the quickest first"));
  const std::size_t contiguous = outcome.out.find("contiguous, nodes", outcome.out.find("Schemes, the quickest first"));
  EXPECT_LT(zigzag, contiguous) << outcome.out;
  EXPECT_NE(outcome.out.find("% to uneven work of the ranks", contiguous), std::string::npos) << outcome.out;
}

TEST(Plan, PlansAThousandRanks) {
  const Folder folder;
  const json report =
      plan_json({"--seq-len", "64M", "--ranks", "1000", "--machine", write_machine(folder), "--layers", "1", "--memory", "16G"});
  const json& point = report.at("points")[0];
  EXPECT_EQ(point.at("nodes"), 250);
  const double even = 4.0 * 64 * 4 * 0x1p26 * 0x1p26 / 2 / 1e11 / 1000;
  EXPECT_NEAR(point.at("seconds").get<double>() / even, 1.1, 0.1);
}

/// Their memory would hold so many tokens that their pairs do not fit 63 bits.
TEST(Plan, ForecastsTheLongestContextOfManyRanks) {
  const Outcome outcome = plan({"--seq-len", "1M", "--ranks", "512", "--machine", ANNULUS_TEST_MACHINES "/h100-400gb.toml",
                                "--dtype", "bf16", "--layers", "1", "--heads", "4", "--head-dim", "64"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("512  more than 1G"), std::string::npos) << outcome.out;
}

TEST(Plan, GivesTheThresholdsOfAMachine) {
  const Outcome outcome = plan({"--seq-len", "64k", "--machine", ANNULUS_TEST_MACHINES "/h100-400gb.toml", "--dtype", "bf16",
                                "--heads", "64", "--head-dim", "128"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const std::size_t at = outcome.out.find("forward    flat  between nodes");
  ASSERT_NE(at, std::string::npos) << outcome.out;
  EXPECT_EQ(outcome.out.substr(at, outcome.out.find('\n', at) - at), "forward    flat  between nodes      14400          28800");
}

TEST(Plan, PrintsWhatPeopleQuote) {
  const Outcome outcome = plan({"--seq-len", "128000", "--tables", "--model", "mistral-7b"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  for (const char* said : {"16,384,000,000", "Pairs with a window of 4,096 tokens", "own heads, windows, 8 bit"}) {
    EXPECT_NE(outcome.out.find(said), std::string::npos) << said;
  }
}

TEST(Plan, PrintsTablesWholeOrNotAtAll) {
  const Outcome outcome = plan({"--seq-len", "1k,4G", "--tables"});
  expect_refusal(outcome, 4, "does not fit 63 bits");
  EXPECT_EQ(outcome.out, "");
  const std::string window = plan({"--seq-len", "64k", "--tables", "--no-causal", "--window-size", "50,50"}).out;
  EXPECT_NE(window.find("50 tokens before and 50 behind"), std::string::npos) << window;
  const json tables = plan_json({"--seq-len", "64k", "--tables"}).at("tables");
  EXPECT_EQ(tables.at("scores")[0].at("causal"), std::int64_t{65536} * 65537 / 2);
  EXPECT_EQ(tables.at("windows")[0].at("window_size"), (json{4095, 0}));
  EXPECT_FALSE(tables.at("kv_caches").empty());
}

TEST(Plan, DrawsTheExchangeThatIsPlanned) {
  const Folder folder;
  const auto drawn = [&](std::vector<std::string> more) {
    const std::string picture = folder / "mask.svg";
    more.insert(more.begin(), {"--seq-len", "256", "--ranks", "8", "--mask-picture", picture});
    EXPECT_EQ(plan(more).code, 0);
    std::ifstream file(picture);
    return std::string{std::istreambuf_iterator<char>(file), {}};
  };
  const auto has = [](const std::string& text, const char* words) { return text.find(words) != std::string::npos; };
  EXPECT_TRUE(has(drawn({}), "exchange shared: all blocks read in place"));
  EXPECT_TRUE(has(drawn({"--ranks-per-node", "2"}), "exchange nodes: a ring of groups of 2 ranks"));
  EXPECT_TRUE(has(drawn({"--ranks-per-node", "1"}), "exchange messages: a flat ring"));
  const std::vector<std::string> window{"--sliding-window", "16", "--pattern", "L", "--local-halo"};
  const auto with = [&](const std::string& halo) {
    std::vector<std::string> words = window;
    words.push_back(halo);
    return drawn(words);
  };
  EXPECT_TRUE(has(with("exchange"), "straight from its owners"));
  EXPECT_TRUE(has(with("resident"), "as a halo"));
}

TEST(Plan, DrawsTheMask) {
  const Folder folder;
  const std::string picture = folder / "mask.svg";
  EXPECT_EQ(plan({"--seq-len", "1k", "--ranks", "3", "--sliding-window", "100", "--pattern", "L", "--mask-picture", picture}).code, 0);
  std::ifstream file(picture);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  EXPECT_NE(text.find("<svg"), std::string::npos);
  EXPECT_NE(text.find("</svg>"), std::string::npos);
  expect_refusal(plan({"--seq-len", "1k", "--mask-picture", "/proc/mask.svg"}), 4, "/proc/mask.svg");
  expect_refusal(plan({"--seq-len", "65M", "--mask-picture", picture}), 2, "64M");
}

TEST(Plan, RefusesQuestionsWithoutAnAnswer) {
  const Folder folder;
  const std::string machine = write_machine(folder);
  expect_refusal(plan({}), 2, "--seq-len is missing");
  expect_refusal(plan({"--seq-len", "0"}), 2, "--seq-len '0'");
  expect_refusal(plan({"--seq-len", "64k,32k"}), 2, "a list that ascends");
  expect_refusal(plan({"--seq-len", "64k", "--ranks", "16385"}), 2, "try at most 16384");
  expect_refusal(plan({"--seq-len", "64k", "--compare"}), 2, "--compare without --machine");
  expect_refusal(plan({"--seq-len", "64k", "--dtype", "f64", "--backend", "reference"}), 2, "--dtype f64 is not for plan");
  expect_refusal(plan({"--seq-len", "64k", "--heads", "4", "--kv-heads", "3"}), 2, "kv");
  expect_refusal(plan({"--seq-len", "64k", "--machine", machine, "--exchange", "shared", "--ranks", "8"}), 2, "--exchange shared");
  expect_refusal(plan({"--seq-len", "64k", "--machine", folder / "absent"}), 3, "absent: File could not be opened");
  expect_refusal(plan({"--seq-len", "64k", "--machine", machine, "--dtype", "bf16"}), 3, "no rate of bf16 kernels");
  expect_refusal(plan({"--seq-len", "64k", "--layout", "striped", "--ranks", "2", "--machine", machine, "extra"}), 2, "extra");
  expect_refusal(plan({"--seq-len", "64k", "--machine", machine, "--report", machine}), 2, "--machine and --report are the same file");
}

/// Whether or not this build has kernels for them, and this machine a GPU.
TEST(Plan, TakesGpusForARingFromGpuToGpu) {
  const std::vector<std::string> gpus{"--seq-len", "64k", "--ranks", "4", "--backend", "cuda", "--dtype", "bf16"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), gpus.begin(), gpus.end());
    return plan(more);
  };
  const Outcome outcome = with({"--report", "-"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(json::parse(outcome.out).at("points").at(0).at("exchange"), "device");
  EXPECT_EQ(with({"--exchange", "device"}).code, 0);
  expect_refusal(with({"--exchange", "messages"}), 2, "not forecast for GPUs");
  expect_refusal(plan({"--seq-len", "64k", "--exchange", "device"}), 2, "--backend cuda");
}

TEST(Plan, SpeaksOnceUnderALauncher) {
  const Outcome outcome = plan({"--seq-len", "4k"}, 3);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out.find("model "), outcome.out.rfind("model ")) << outcome.out;
  expect_refusal(plan({}, 3), 2, "--seq-len is missing");
}

}  // namespace
}  // namespace annulus::test
