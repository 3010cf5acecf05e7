/// A rank that is silent ends the job: in bounded time, with code 5 and words that name rank, host and wait.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "tests/launch/program.hpp"

namespace annulus::test {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto bound = std::chrono::seconds(40);  ///< a timeout of 1 or 2 s, and the launcher's own patience

std::vector<RankCommand> all(int np, const RankCommand& command) {
  return std::vector<RankCommand>(static_cast<std::size_t>(np), command);
}

TEST(Silence, OfARankThatSleepsEndsAllWithCode5AndALastWord) {
  for (const int np : {2, 3}) {
    const Outcome outcome = run_ranks(all(np, {.program = ANNULUS_TEST_SILENT_RANK, .words = {"asleep"}}));
    EXPECT_EQ(outcome.code, 5) << outcome.err;
    ASSERT_FALSE(outcome.messages().empty()) << outcome.err;
    for (const char* words : {" on ", "has waited", "meet all ranks (all ranks)", "since 20", "without a sign of life"}) {
      EXPECT_NE(outcome.messages()[0].find(words), std::string::npos) << outcome.messages()[0];
    }
    EXPECT_EQ(outcome.err.find("annulus: rank 1 "), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.out.find("last word of rank"), std::string::npos) << outcome.out;
  }
}

TEST(Silence, OfRanksThatWaitForEachOtherIsNotBrokenByOldSignsOfLife) {
  for (const int np : {2, 4}) {
    const Outcome outcome = run_ranks(all(np, {.program = ANNULUS_TEST_SILENT_RANK, .words = {"deadlock"}}));
    EXPECT_EQ(outcome.code, 5) << outcome.err;
    ASSERT_FALSE(outcome.messages().empty()) << outcome.err;
    EXPECT_NE(outcome.messages()[0].find("to receive 1 bytes (rank "), std::string::npos) << outcome.messages()[0];
  }
}

/// Ranks of a run over a small file that saves each layer; one of them gets a signal once a save is there.
class InterruptedRun : public testing::Test {
 protected:
  InterruptedRun() { std::ofstream(folder / "book") << std::string(4096, 'a'); }

  Outcome interrupt(const std::string& signal, const std::vector<std::string>& more) {
    std::vector<std::string> words{"run",      "--input",      folder / "book", "--seq-len",    "4k",    "--layers", "20000",
                                   "--output", folder / "out.h5", "--checkpoint", folder / "saves", "--comm-timeout", "2"};
    words.insert(words.end(), more.begin(), more.end());
    const std::string script = "(until ls \"$0\" 2>/dev/null | grep -q step-; do sleep 0.1; done; kill -" + signal + " $$) & exec \"$@\"";
    RankCommand struck{.program = "/bin/sh", .words = {"-c", script, folder / "saves", ANNULUS_TEST_PROGRAM}};
    struck.words.insert(struck.words.end(), words.begin(), words.end());
    const Clock::time_point start = Clock::now();
    const Outcome outcome = run_ranks({{.words = words}, struck, {.words = words}});
    EXPECT_LT(Clock::now() - start, bound);
    EXPECT_FALSE(folder.names().contains("out.h5")) << "it can only be half written";
    EXPECT_EQ(run_program(plainly, {"checkpoint", "verify", folder / "saves"}).code, 0);
    return outcome;
  }

  Folder folder;
};

TEST_F(InterruptedRun, EndsWithCode5IfARankStops) {
  for (const char* exchange : {"shared", "messages"}) {
    const Outcome outcome = interrupt("STOP", {"--exchange", exchange});
    EXPECT_EQ(outcome.code, 5) << outcome.err;
    ASSERT_FALSE(outcome.messages().empty()) << outcome.err;
    EXPECT_NE(outcome.messages()[0].find("without a sign of life"), std::string::npos) << outcome.err;
    std::filesystem::remove_all(folder / "saves");
  }
}

TEST_F(InterruptedRun, EndsWithAFailureIfARankDies) {
  const Outcome outcome = interrupt("KILL", {});
  EXPECT_NE(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.code, 124) << outcome.err;
}

}  // namespace
}  // namespace annulus::test
