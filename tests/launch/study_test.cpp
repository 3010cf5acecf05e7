/// `annulus study` as a user meets it: points measured beside their forecasts, resumed after anything, mixed with nothing.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tests/launch/example_machine.hpp"
#include "tests/launch/refusal.hpp"

namespace annulus::test {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

class StudyTest : public testing::Test {
 protected:
  /// A small stack, and a machine that need not be calibrated.
  Words words(const std::string& kind, const Words& extra) const {
    Words all{"study", kind, path_, "--machine", machine_, "--heads", "2", "--threads", "1"};
    all.insert(all.end(), extra.begin(), extra.end());
    if (kind != "capacity" && std::ranges::find(extra, "--repeats") == extra.end()) all.insert(all.end(), {"--repeats", "1"});
    return all;
  }
  Outcome study(int np, const std::string& kind, const Words& extra) const { return run_program(np, words(kind, extra)); }

  std::string bytes() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::vector<json> lines() const {
    std::vector<json> found;
    std::ifstream file(path_);
    for (std::string line; std::getline(file, line);) found.push_back(json::parse(line, nullptr, false));
    return found;
  }
  std::vector<json> records() const {
    std::vector<json> found = lines();
    if (!found.empty()) found.erase(found.begin());
    return found;
  }
  std::set<std::string> keys() const {
    std::set<std::string> found;
    for (const json& record : records()) found.insert(record.at("key"));
    return found;
  }

  Folder folder_;
  std::string path_ = folder_ / "results.jsonl";
  std::string machine_ = write_machine(folder_);
};

std::uint64_t largest(const json& values) {
  std::uint64_t most = 0;
  for (const json& value : values) most = std::max(most, value.get<std::uint64_t>());
  return most;
}

TEST_F(StudyTest, MeasuresEveryPointBesideItsForecast) {
  const Outcome outcome = study(3, "strong", {"--seq-len", "1000", "--pattern", "LG", "--sliding-window", "64", "--backward",
                                              "--layouts", "zigzag,contiguous", "--exchanges", "shared,messages", "--repeats", "2"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(records().size(), 3U * 2 * 2) << "ranks 1, 2 and 3, layouts, exchanges";
  EXPECT_EQ(keys().size(), records().size());
  for (const json& record : records()) {
    const json& measured = record.at("measured");
    EXPECT_EQ(measured.at("samples").size(), 2U);
    EXPECT_EQ(measured.at("peak_bytes").size(), record.at("point").at("ranks"));
    EXPECT_GE(measured.at("verify").at("rows"), 4) << record;
    EXPECT_LT(measured.at("verify").at("max_rel_error"), 1e-4);
    EXPECT_GT(measured.at("verify").at("max_rel_error"), 0) << "nothing was compared";
    EXPECT_GT(measured.at("cpu_share"), 0);
    EXPECT_GT(record.at("predicted").at("seconds"), 0);
    ASSERT_EQ(measured.at("layers").size(), 4U);
    ASSERT_EQ(record.at("predicted").at("layers").size(), 4U);
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(measured["layers"][i]["kind"], record["predicted"]["layers"][i]["kind"]);
      EXPECT_EQ(measured["layers"][i]["direction"], record["predicted"]["layers"][i]["direction"]);
      const double sent = measured["layers"][i]["bytes_sent"];
      if (record["point"]["exchange"] == "messages") {
        EXPECT_NEAR(record["predicted"]["layers"][i]["bytes_sent"].get<double>(), sent, 64 + 0.001 * sent) << record["point"];
      }
    }
  }
  EXPECT_NE(outcome.out.find("Errors of the predictions"), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find("12 points on sampled rows"), std::string::npos) << outcome.out;
}

/// The process as the system sees it: a sanitizer's shadow and quarantine are several times what is planned.
class StudyMemoryTest : public StudyTest {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_ADDRESS__
    GTEST_SKIP() << "the sanitizer's own memory would be measured";
#endif
  }
};

TEST_F(StudyMemoryTest, IsForecastWithinFivePercent) {
  ASSERT_EQ(
      study(3, "strong",
            {"--seq-len", "6k", "--patterns", "G,LG", "--sliding-window", "512", "--exchanges", "shared,messages"})
          .code,
      0);
  ASSERT_EQ(study(2, "strong", {"--seq-len", "6k", "--patterns", "G,LLG", "--sliding-window", "300", "--backward", "--layers", "3",
                                "--local-halos", "resident,exchange"})
                .code,
            0);
  // Small points, where what is forgotten shows. Then a list entry for every row of a stripe.
  ASSERT_EQ(study(3, "strong", {"--seq-len", "512,1k", "--ranks", "2,3", "--backward", "--exchanges", "messages,nodes", "--layouts",
                                "striped,zigzag"})
                .code,
            0);
  ASSERT_EQ(study(2, "strong", {"--seq-len", "48k", "--ranks", "2", "--layout", "striped", "--pattern", "L", "--sliding-window", "64",
                                "--layers", "1", "--exchange", "messages", "--head-dim", "16"})
                .code,
            0);
  // Rows straight from their owners, of 16 bits forward and 32 back.
  const std::string f32 = example_machine;
  std::string both = f32 + f32.substr(f32.find("[[kernel]]"));
  for (int kernel = 0; kernel < 2; ++kernel) both.replace(both.rfind("\"f32\""), 5, "\"bf16\"");
  write_machine(folder_, both);
  ASSERT_EQ(study(3, "strong", {"--seq-len", "3k", "--ranks", "3", "--pattern", "L", "--sliding-window", "1000", "--backward", "--dtype", "bf16",
                                "--local-halo", "exchange", "--layout", "contiguous", "--layers", "1"})
                .code,
            0);
  EXPECT_EQ(records().size(), 3U * 2 * 2 + 2 * 3 + 2 * 2 * 2 * 2 + 1 + 1);
  const auto expect_within = [](const json& record, double share) {
    const auto measured = static_cast<double>(largest(record.at("measured").at("peak_bytes")));
    const double predicted = record.at("predicted").at("peak_bytes");
    EXPECT_LT(std::abs(predicted - measured) / measured, share)
        << record.at("point") << " measured " << measured << " predicted " << predicted;
  };
  for (const json& record : records()) expect_within(record, 0.05);
  expect_within(records().back(), 0.025);  // 3.4 % too low if what came forward stays beside what goes back
}

TEST_F(StudyTest, GrowsTheSequenceInAWeakStudy) {
  ASSERT_EQ(study(3, "weak", {"--seq-len", "300", "--verify", "0"}).code, 0);
  ASSERT_EQ(records().size(), 3U);
  for (const json& record : records()) {
    EXPECT_EQ(record.at("point").at("seq_len"), 300 * record.at("point").at("ranks").get<int>());
    EXPECT_TRUE(record.at("measured").at("verify").is_null());
  }
}

TEST_F(StudyMemoryTest, SetsTheLongestContext) {
  constexpr std::uint64_t budget = 12U << 20;
  ASSERT_EQ(study(2, "capacity", {"--memory", "12M", "--pattern", "L", "--sliding-window", "64"}).code, 0);
  ASSERT_EQ(records().size(), 2U);
  std::vector<double> longest;
  for (const json& record : records()) {
    longest.push_back(record.at("measured").at("longest_seq_len"));
    double fitting = 0;
    double failing = INFINITY;
    for (const json& tried : record.at("measured").at("tried")) {
      EXPECT_EQ(tried.at("fits"), tried.at("peak_bytes") <= budget);
      const double tokens = tried.at("seq_len");
      if (tried.at("fits")) fitting = std::max(fitting, tokens);
      if (!tried.at("fits")) failing = std::min(failing, tokens);
    }
    EXPECT_EQ(longest.back(), fitting);
    EXPECT_LE(failing, fitting * (1 + 1.5 / 64)) << "the next step was tried and is too long";
    EXPECT_NEAR(record.at("predicted").at("longest_seq_len").get<double>() / fitting, 1, 0.1);
  }
  EXPECT_GT(longest[1], 1.7 * longest[0]) << "two ranks hold nearly twice as much";
}

TEST_F(StudyTest, GoesOnAfterAKill) {
  const Words sweep{"--seq-len", "256,512,768,1k,1280,1536", "--ranks", "3"};
  // Rank 0 kills itself once two points are there; the launcher ends the others.
  const std::string script = "\"$@\" & study=$!; until [ \"$(wc -l 2>/dev/null < '" + path_ +
                             "')\" -ge 3 ] 2>/dev/null; do sleep 0.01; done; kill -9 $study; wait $study";
  Words command = words("strong", sweep);
  command.insert(command.begin(), ANNULUS_TEST_PROGRAM);
  Words killed{"-c", script, "sh"};
  killed.insert(killed.end(), command.begin(), command.end());
  const Words plain(command.begin() + 1, command.end());
  const Outcome dead = run_ranks({{.program = "/bin/sh", .words = killed}, {.words = plain}, {.words = plain}});
  EXPECT_NE(dead.code, 0);
  const std::string before = bytes();
  ASSERT_GE(lines().size(), 3U) << dead.err;
  const std::string whole = before.substr(0, before.rfind('\n') + 1);
  const Outcome again = study(3, "strong", sweep);
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_TRUE(bytes().starts_with(whole)) << "what was measured stays as it was";
  EXPECT_EQ(records().size(), 6U);
  EXPECT_EQ(keys().size(), 6U) << "and is not measured again";
  const std::string after = bytes();
  EXPECT_EQ(study(3, "strong", sweep).code, 0);
  EXPECT_EQ(bytes(), after) << "all is done";
}

TEST_F(StudyTest, CutsATornLineOff) {
  const Words sweep{"--seq-len", "256,512"};
  ASSERT_EQ(study(plainly, "strong", {"--seq-len", "256"}).code, 0);
  const std::string whole = bytes();
  std::ofstream(path_, std::ios::app) << R"({"key":"00)";
  const Outcome outcome = study(plainly, "strong", sweep);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("was torn (line 3, 10 bytes"), std::string::npos) << outcome.out;
  EXPECT_TRUE(bytes().starts_with(whole));
  EXPECT_EQ(records().size(), 2U);
}

TEST_F(StudyTest, StopsInTimeAndGoesOn) {
  const Words sweep{"--seq-len", "6k,8k"};
  Words limited = sweep;
  limited.insert(limited.end(), {"--time-limit", "1s"});
  expect_refusal(study(3, "strong", limited), 7, "run the same study again to go on");
  EXPECT_LT(records().size(), 6U);
  const std::string before = bytes();
  const Outcome hopeless = study(plainly, "strong", {"--seq-len", "256k", "--time-limit", "1s"});
  expect_refusal(hopeless, 7, "262144 tokens, takes about");
  expect_refusal(hopeless, 7, "run the same study again to go on");
  EXPECT_NE(hopeless.err.find("with a --time-limit above"), std::string::npos) << "a point of minutes was not begun";
  EXPECT_NE(hopeless.err.find("none of the points left fits into 1.00 s"), std::string::npos) << hopeless.err;
  EXPECT_EQ(bytes(), before);
  EXPECT_EQ(study(3, "strong", sweep).code, 0);
  EXPECT_EQ(records().size(), 6U);
}

TEST_F(StudyTest, SaysWhatItKeeps) {
  ASSERT_EQ(study(plainly, "strong", {"--seq-len", "256,512"}).code, 0);
  const std::string before = bytes();
  const Outcome same = study(plainly, "strong", {"--seq-len", "256,512"});
  EXPECT_EQ(same.out.find("kept as measured"), std::string::npos) << same.out;
  const Outcome other = study(plainly, "strong", {"--seq-len", "256,512", "--repeats", "3"});
  EXPECT_NE(other.out.find("kept as measured: 2 points on file (--repeats 1, not 3)"), std::string::npos) << other.out;
  EXPECT_EQ(other.out.find("kept as predicted"), std::string::npos) << other.out;
  EXPECT_EQ(bytes(), before);
}

TEST_F(StudyTest, SaysThatAnotherMachineFilePredictedWhatIsThere) {
  ASSERT_EQ(study(plainly, "strong", {"--seq-len", "256,512"}).code, 0);
  const json first = records()[0].at("how").at("predicted_from");
  EXPECT_EQ(first.at("machine"), "two nodes");
  write_machine(folder_, std::string(example_machine) + "# a comment changes nothing\n");
  EXPECT_EQ(study(plainly, "strong", {"--seq-len", "256"}).out.find("kept as predicted"), std::string::npos);
  write_machine(folder_, replaced(example_machine, "flops_per_second = 1e11", "flops_per_second = 2e11"));
  const Outcome other = study(plainly, "strong", {"--seq-len", "1k"});
  ASSERT_EQ(other.code, 0) << other.err;
  EXPECT_NE(other.out.find("kept as predicted: 2 points on file, from machine two nodes (made up, content " +
                           first.at("hash").get<std::string>() + "); new ones from two nodes"),
            std::string::npos)
      << other.out;
  EXPECT_NE(records()[2].at("how").at("predicted_from").at("hash"), first.at("hash"));
}

TEST_F(StudyTest, NamesEveryPointItLeavesOutOnce) {
  const Outcome outcome = study(plainly, "strong", {"--seq-len", "256,1000000M", "--layouts", "auto,contiguous", "--time-limit", "1h"});
  ASSERT_EQ(outcome.code, 0) << outcome.err << "what has no room is no matter of time";
  std::multiset<std::string> left_out;
  std::istringstream lines(outcome.out);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("left out")) left_out.insert(line);
  }
  EXPECT_EQ(left_out.size(), 2U) << outcome.out;
  EXPECT_EQ(std::set<std::string>(left_out.begin(), left_out.end()).size(), 2U) << outcome.out;
  EXPECT_EQ(records().size(), 2U) << "of layouts auto and contiguous";
}

TEST_F(StudyTest, BeginsATornHeaderAnew) {
  ASSERT_EQ(study(plainly, "strong", {"--seq-len", "256"}).code, 0);
  const std::string whole = bytes();
  std::ofstream(path_, std::ios::binary) << whole.substr(0, 40);
  const Outcome outcome = study(plainly, "strong", {"--seq-len", "256"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("was torn (40 bytes"), std::string::npos) << outcome.out;
  EXPECT_EQ(lines()[0], json::parse(whole.substr(0, whole.find('\n'))));
  EXPECT_EQ(records().size(), 1U);
}

TEST_F(StudyTest, LetsIdleRanksSleep) {
  // `times` prints what the shell's children took: user, then system.
  const auto command = [&](int rank) {
    Words all = words("strong", {"--seq-len", "8k", "--ranks", "1", "--repeats", "4"});
    // A rank that waits awake would take its core whole.
    Words of_shell{"-c",
                   "export OMPI_MCA_mpi_yield_when_idle=0; \"$@\"; code=$?; times > '" +
                       (folder_ / ("times" + std::to_string(rank))) + "'; exit $code",
                   "sh", ANNULUS_TEST_PROGRAM};
    of_shell.insert(of_shell.end(), all.begin(), all.end());
    return RankCommand{.program = "/bin/sh", .words = of_shell};
  };
  ASSERT_EQ(run_ranks({command(0), command(1)}).code, 0);
  const auto cpu_seconds = [&](int rank) {
    std::ifstream file(folder_ / ("times" + std::to_string(rank)));
    double sum = 0;
    std::string word;
    for (int i = 0; file >> word; ++i) {  // "0m1.234s", the shell's own first
      if (i < 2) continue;
      const std::size_t minute = word.find('m');
      sum += 60 * std::stod(word.substr(0, minute)) + std::stod(word.substr(minute + 1));
    }
    return sum;
  };
  EXPECT_GT(cpu_seconds(0), 0.5) << "it has worked";
  EXPECT_LT(cpu_seconds(1), 0.4 * cpu_seconds(0));
}

TEST_F(StudyTest, MixesNothing) {
  ASSERT_EQ(study(3, "strong", {"--seq-len", "256", "--ranks", "3"}).code, 0);
  const std::string text = bytes();
  const auto expect_kept = [&](const std::string& with, int np, const std::string& kind, const Words& extra, int code,
                               const std::string& said) {
    std::ofstream(path_, std::ios::binary) << with;
    expect_refusal(study(np, kind, extra), code, said);
    EXPECT_EQ(bytes(), with);
  };
  const Words more{"--seq-len", "512", "--ranks", "3"};
  expect_kept(replaced(text, "\"seconds\":", "\"seconds\":\"soon\",\"was\":"), 3, "strong", more, 3, "seconds");
  expect_kept(replaced(text, "\"version\":\"", "\"version\":\"9"), 3, "strong", more, 3, "results of annulus '9");
  expect_kept(replaced(text, "\"fingerprint\":\"", "\"fingerprint\":\"not "), 3, "strong", more, 3, "results of machine 'not ");
  expect_kept(text, 3, "weak", more, 3, "one file holds one kind of study");
  expect_kept("a diary\n", 3, "strong", more, 3, "holds no results");
  expect_kept(text, 3, "strong", {"--seq-len", "512", "--ranks", "1,4"}, 2, "--ranks 4 in a job of 3");
  expect_kept(text, 3, "strong", {"--seq-len", "1000000M"}, 4, "no point of this study was measured");
}

TEST_F(StudyTest, SaysThatABudgetHoldsNothingOrIsNotThere) {
  expect_refusal(study(3, "capacity", {"--memory", "1k"}), 4, "--memory 1024 fits no context with ranks 1");
  expect_refusal(study(plainly, "capacity", {"--memory", "1000T"}), 4, "try a smaller --memory");
  EXPECT_EQ(records().size(), 0U);
}

TEST_F(StudyTest, RefusesWordsItDoesNotKnow) {
  expect_refusal(run_program(plainly, {"study"}), 2, "strong|weak|capacity is missing");
  expect_refusal(run_program(plainly, {"study", "strong"}), 2, "RESULTS is missing");
  expect_refusal(study(plainly, "wild", {"--seq-len", "256"}), 2, "unknown word 'wild'");
  expect_refusal(study(3, "strong", {}), 2, "--seq-len is missing");
  expect_refusal(study(plainly, "strong", {"--seq-len", "1k", "--layouts", "zigzag,round"}), 2, "'round' is unknown");
  expect_refusal(study(plainly, "strong", {"--seq-len", "1k", "--patterns", "G,"}), 2, "--patterns");
  expect_refusal(study(plainly, "strong", {"--seq-len", "1k", "--local-halo", "resident"}), 2, "without local layers");
  expect_refusal(study(3, "strong", {"--seq-len", "1k", "--dtypes", "f32,bf16"}), 3, "has no rate of bf16 kernels");
  expect_refusal(study(plainly, "capacity", {}), 2, "without --memory");
  expect_refusal(study(plainly, "capacity", {"--memory", "1G", "--seq-len", "1k"}), 2, "--seq-len with study capacity");
  expect_refusal(study(plainly, "strong", {"--seq-len", "1k", "--memory", "1G"}), 2, "--memory is for study capacity");
  expect_refusal(study(plainly, "strong", {"--seq-len", "1k", "--layouts", "zigzag,zigzag"}), 2, "--layouts");
  expect_refusal(study(plainly, "strong", {"--seq-len", "1k", "--layout", "zigzag", "--layouts", "striped"}), 2, "--layout and --layouts");
  expect_refusal(study(plainly, "strong", {"--seq-len", "1k", "--dtypes", "f64"}), 2, "--dtype f64 is not for study");
  expect_refusal(study(plainly, "strong", {"--seq-len", "1k", "--report", "x.json"}), 2, "report");
  EXPECT_EQ(run_program(plainly, {"study", "--help"}).out.find("--report"), std::string::npos) << "it is not offered either";
  expect_refusal(study(plainly, "strong", {"--seq-len", "1k", "--patterns", "G,LG"}), 2, "LG");
  expect_refusal(study(plainly, "capacity", {"--memory", "1G", "--repeats", "2"}), 2, "--repeats with study capacity");
  EXPECT_EQ(folder_.names(), std::set<std::string>{"machine.toml"}) << "nothing was begun";
}

}  // namespace
}  // namespace annulus::test
