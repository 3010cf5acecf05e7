/// How long a study expects its next point to take.
// SPDX-License-Identifier: Apache-2.0
#include "launch/study/pace.hpp"

#include <gtest/gtest.h>

#include "launch/machine_file.hpp"
#include "launch/study/search.hpp"
#include "tests/launch/example_machine.hpp"

namespace annulus::launch {
namespace {

using nlohmann::json;

class PaceTest : public testing::Test {
 protected:
  static StudyOptions options_of(std::vector<std::string> words) {
    const std::vector<std::string> common{"--heads", "2", "--threads", "1"};
    words.insert(words.end(), common.begin(), common.end());
    return parse_study_options(words);
  }
  StudyPoint point(std::int64_t seq_len) const {
    StudyPoint made{.request = options_.request, .point = {}, .key = {}, .scheme = {}};
    made.request.placement = {.ranks = 1, .ranks_per_node = 1, .threads = 1};
    made.request.seq_len = seq_len;
    return made;
  }
  double forecast(std::int64_t seq_len) const { return plan_point(point(seq_len).request, &machine_).totals().seconds; }
  /// A point whose runs took `ratio` of their forecasts, and which took `beside` more.
  json record(std::int64_t seq_len, double ratio, double beside) const {
    const double one_run = ratio * forecast(seq_len);
    return {{"how", {{"repeats", 2}, {"warmups", 0}}}, {"measured", {{"seconds", one_run}}}, {"took_seconds", 3 * one_run + beside}};
  }

  test::Folder folder_;
  forecast::Machine machine_ = read_machine(test::write_machine(folder_));
  StudyOptions options_ = options_of({"strong", "results.jsonl", "--seq-len", "1k", "--repeats", "4", "--warmups", "2"});
  Pace pace_{options_, machine_};
};

TEST_F(PaceTest, CountsWarmUpsAndRepeats) {
  EXPECT_GT(forecast(8192), 0);
  EXPECT_DOUBLE_EQ(pace_.expected(point(8192)), 6 * forecast(8192));
}

TEST_F(PaceTest, LearnsFromPointsThatAreDone) {
  pace_.note(point(4096), record(4096, 3, 0.5));
  EXPECT_NEAR(pace_.expected(point(8192)), 6 * 3 * forecast(8192) + 0.5, 1e-9);
  pace_.note(point(8192), record(8192, 0.5, 0.25));
  EXPECT_NEAR(pace_.expected(point(8192)), 6 * 3 * forecast(8192) + 0.5, 1e-9) << "the slowest of about that length counts";
}

TEST_F(PaceTest, TakesTheRatioOfLongPointsFromLongPoints) {
  pace_.note(point(64), record(64, 20, 1));
  EXPECT_NEAR(pace_.expected(point(65536)), 6 * 20 * forecast(65536) + 1, 1e-6) << "there is nothing better yet";
  pace_.note(point(32768), record(32768, 1.25, 0));
  EXPECT_NEAR(pace_.expected(point(65536)), 6 * 1.25 * forecast(65536) + 1, 1e-6);
}

TEST_F(PaceTest, LearnsNothingFromRecordsWithoutTimes) {
  for (const json& empty : {json::object(), json{{"measured", "soon"}}, json{{"measured", {{"seconds", 0}}}}, json{{"how", 7}}}) {
    pace_.note(point(8192), empty);
  }
  EXPECT_DOUBLE_EQ(pace_.expected(point(8192)), 6 * forecast(8192));
}

TEST_F(PaceTest, ExpectsTriesOfASearch) {
  const StudyOptions options = options_of({"capacity", "results.jsonl", "--memory", "64M"});
  Pace pace(options, machine_);
  const double before = pace.expected(point(0));
  EXPECT_GT(before, 0);
  const double one_try = before / 6;
  const json tries{{"seconds", 2 * one_try}, {"fits", true}};
  pace.note(point(0), {{"measured", {{"tried", {tries, tries, tries}}}}, {"took_seconds", 6 * one_try + 1}});
  EXPECT_NEAR(pace.expected(point(0)), 2 * before + 1, 1e-6);
}

/// Arithmetic alone: how far small points are off what is measured stands in docs/scaling.md.
TEST_F(PaceTest, ALongestContextOfFewRowsIsPredictedToTheRow) {
  PointRequest request = point(0).request;
  request.files = false;
  for (const std::uint64_t budget : {std::uint64_t{900} << 10U, std::uint64_t{1} << 20U, std::uint64_t{2} << 20U}) {
    const std::int64_t longest = predicted_longest(request, budget);
    ASSERT_GT(longest, 0) << budget;
    EXPECT_LT(longest, 1024) << "the steps of plan";
    request.seq_len = longest;
    EXPECT_LE(bytes_of(request), budget);
    request.seq_len = longest + 1;
    EXPECT_GT(bytes_of(request), budget);
  }
}

}  // namespace
}  // namespace annulus::launch
