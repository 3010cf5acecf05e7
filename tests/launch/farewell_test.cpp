/// A failure of one rank ends all, in seconds, with its message and its code.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/launch/attend_files.hpp"
#include "tests/launch/program.hpp"

namespace annulus::test {
namespace {

TEST(Farewell, OfALonelyRankEndsAllWithItsCode) {
  for (const int np : {2, 3}) {
    const Outcome outcome =
        run_ranks(std::vector<RankCommand>(static_cast<std::size_t>(np), {.program = ANNULUS_TEST_LONELY_RANK}));
    EXPECT_EQ(outcome.code, 4) << outcome.err;
    ASSERT_EQ(outcome.messages().size(), 1U) << outcome.err;
    EXPECT_NE(outcome.messages()[0].find("one rank alone [on rank 1"), std::string::npos) << outcome.messages()[0];
  }
}

TEST(Farewell, IsTogetherWhenOneRankCannotReadTheFile) {
  const Folder folder;
  write_attend_input(folder / "in.h5", {});
  const Folder empty;
  const std::vector<std::string> words{"attend", "in.h5", folder / "out.h5"};
  for (const bool first : {true, false}) {
    const RankCommand reads{.words = words, .folder = folder / ""};
    const RankCommand lacks{.words = words, .folder = empty / ""};
    const Outcome outcome = run_ranks({first ? lacks : reads, first ? reads : lacks, reads});
    EXPECT_EQ(outcome.code, 3) << outcome.err;
    ASSERT_EQ(outcome.messages().size(), 1U) << outcome.err;
    EXPECT_NE(outcome.messages()[0].find(first ? "[found on rank 0]" : "[found on rank 1]"), std::string::npos)
        << outcome.messages()[0];
    EXPECT_EQ(folder.names(), std::set<std::string>{"in.h5"});
  }
}

TEST(Farewell, OfRanksWithOtherCommandLinesNamesThem) {
  const Folder folder;
  write_attend_input(folder / "in.h5", {});
  const RankCommand common{.words = {"attend", folder / "in.h5", folder / "out.h5"}};
  const RankCommand other{.words = {"attend", folder / "in.h5", folder / "other.h5"}};
  const Outcome outcome = run_ranks({common, other, common});
  EXPECT_EQ(outcome.code, 2) << outcome.err;
  ASSERT_EQ(outcome.messages().size(), 1U) << outcome.err;
  EXPECT_NE(outcome.messages()[0].find("rank 1"), std::string::npos) << outcome.messages()[0];
  EXPECT_EQ(folder.names(), std::set<std::string>{"in.h5"});
}

TEST(Farewell, IsTogetherWhenOneCommandLineIsWrong) {
  const Folder folder;
  write_attend_input(folder / "in.h5", {});
  const RankCommand common{.words = {"attend", folder / "in.h5", folder / "out.h5"}};
  RankCommand wrong = common;
  wrong.words.push_back("--nonsense");
  const Outcome outcome = run_ranks({common, common, wrong});
  EXPECT_EQ(outcome.code, 2) << outcome.err;
  ASSERT_EQ(outcome.messages().size(), 1U) << outcome.err;
  EXPECT_NE(outcome.messages()[0].find("rank 2"), std::string::npos) << outcome.messages()[0];
}

}  // namespace
}  // namespace annulus::test
