/// `annulus report` as a user meets it, with and without a Python that can draw.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "launch/study/file.hpp"
#include "tests/launch/program.hpp"
#include "tests/launch/refusal.hpp"

namespace annulus::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

json layer(const char* kind, double seconds) {
  return {{"kind", kind},       {"direction", "forward"},       {"window", nullptr},
          {"seconds", seconds}, {"exposed_comm_seconds", 0.25}, {"bytes_sent", 1024},
          {"messages", 2}};
}

/// Made-up numbers that are easy to check: `seconds` measured, a tenth less predicted, which is what others left of the
/// cores, and a quarter of it exposed.
json time_record(std::int64_t ranks, std::int64_t seq_len, double seconds, double tflops,
                 const std::string& scheme = "zigzag") {
  const json point{{"ranks", ranks}, {"seq_len", seq_len}, {"threads", 1}};
  return {{"key", launch::study_key({point, scheme})},
          {"point", point},
          {"scheme", scheme},
          {"measured",
           {{"seconds", seconds},
            {"samples", {0.9 * seconds, 1.1 * seconds}},
            {"tflops", tflops},
            {"cpu_share", 0.9},
            {"verify", {{"rows", 4}, {"max_rel_error", 2e-6}}},
            {"exposed_comm_seconds", seconds / 4},
            {"peak_bytes", std::vector<int>(static_cast<std::size_t>(ranks), 1 << 20)},
            {"layers", {layer("local", 0.5), layer("global", 3), layer("global", 5)}}}},
          {"predicted",
           {{"seconds", 0.9 * seconds},
            {"exposed_comm_seconds", 0},
            {"peak_bytes", 3 << 19},
            {"layers", {layer("global", 2)}}}},
          {"when", "2026-11-24T17:00:00Z"}};
}

json longest_record(std::int64_t ranks, std::int64_t measured, std::int64_t predicted) {
  const json point{{"ranks", ranks}};
  return {{"key", launch::study_key(point)},
          {"point", point},
          {"scheme", "zigzag"},
          {"measured", {{"longest_seq_len", measured}, {"budget_bytes", 1 << 30}, {"tried", {{{"seq_len", 1}}}}}},
          {"predicted", {{"longest_seq_len", predicted}}}};
}

class ReportTest : public testing::Test {
 protected:
  void SetUp() override { use_python("/nonexistent/python3"); }
  void TearDown() override { unsetenv("ANNULUS_PYTHON"); }

  static void use_python(const std::string& path) { setenv("ANNULUS_PYTHON", path.c_str(), 1); }
  void use_python_that(const std::string& script) const {
    std::ofstream(folder_ / "python") << "#!/bin/sh\n" << script << "\n";
    fs::permissions(folder_ / "python", fs::perms::owner_all);
    use_python(folder_ / "python");
  }
  void make(const std::string& kind, const std::vector<json>& records) const {
    fs::remove(path_);
    launch::StudyFile file(path_,
                           {{"study", kind}, {"machine", {{"fingerprint", "cafe"}, {"cpu", "a <CPU>"}, {"ranks", 4}}}});
    for (const json& record : records) file.append(record);
  }
  Outcome report(std::vector<std::string> words = {}) const {
    words.insert(words.begin(), {"report", path_});
    return run_program(plainly, words);
  }
  std::string page() const { return content(pages_ + "/index.html"); }
  /// The cells of the first line of the table `title` that starts so.
  static std::string line(const std::string& text, const std::string& title, const std::string& start) {
    const std::size_t at = text.find("\n" + start, text.find("\n" + title + "\n") + 1);
    return at == std::string::npos ? text : text.substr(at + 1, text.find('\n', at + 1) - at - 1);
  }
  static std::string squeezed(const std::string& text) {
    std::string found;
    for (const char c : text) {
      if (c != ' ' || found.empty() || found.back() != ' ') found += c;
    }
    return found;
  }

  Folder folder_;
  std::string path_ = folder_ / "my results.jsonl";
  std::string pages_ = folder_ / "my results-report";
};

TEST_F(ReportTest, TellsWhatWasMeasuredBesideWhatWasPredicted) {
  make("strong", {time_record(4, 65536, 5, 0.8), time_record(1, 65536, 16, 0.25)});
  const Outcome outcome = report();
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(squeezed(line(outcome.out, "Time", "zigzag      4")),
            "zigzag 4 64k 5.00 s 10.0 % 4.50 s -10.0 % 80.0 % 80.0 % 0.8 90.0 %");
  EXPECT_EQ(squeezed(line(outcome.out, "Communication and memory", "zigzag      4")),
            "zigzag 4 64k 25.0 % 0.0 % 1.0 MiB 1.5 MiB 50.0 %");
  EXPECT_EQ(squeezed(line(outcome.out, "Layers", "zigzag      1")),
            "zigzag 1 64k global forward 2 4.00 s 2.00 s -50.0 % 250.0 ms 1.0 KiB");
  EXPECT_EQ(squeezed(line(outcome.out, "Errors of the predictions", "zigzag")),
            "zigzag 10.0 % (10.0 %) 0.0 % (0.0 %) 50.0 % (50.0 %) 25.0 pp (25.0 pp) 50.0 % (50.0 %) -");
  EXPECT_NE(outcome.out.find("verified  2 points on sampled rows in f64, largest relative error 2.00e-06"), std::string::npos)
      << outcome.out;
  EXPECT_NE(outcome.out.find(content(pages_ + "/tables.txt")), std::string::npos) << "the file has what was printed";
}

TEST_F(ReportTest, ComparesRatesInAWeakStudy) {
  make("weak", {time_record(1, 1024, 1, 0.2), time_record(3, 3072, 4, 0.3), time_record(1, 2048, 1, 0.4)});
  const std::string out = report().out;
  EXPECT_EQ(squeezed(line(out, "Time", "zigzag      3")), "zigzag 3 3k 4.00 s 10.0 % 3.60 s -10.0 % 50.0 % 50.0 % 0.3 90.0 %");
  EXPECT_NE(squeezed(out).find("zigzag 1 2k 1.00 s 10.0 % 900.0 ms -10.0 % - - 0.4 90.0 %"), std::string::npos)
      << "alone in its series";
}

TEST_F(ReportTest, TellsTheLongestContext) {
  make("capacity", {longest_record(1, 1 << 20, 1 << 20), longest_record(4, 3 << 20, 6 << 20)});
  const std::string out = report().out;
  EXPECT_EQ(squeezed(line(out, "Longest context", "zigzag      4")), "zigzag 4 1.0 GiB 3M 6M 100.0 % 4M 75.0 % 1");
  EXPECT_EQ(out.find("\nTime\n"), std::string::npos);
}

TEST_F(ReportTest, TellsPointsApartThatASchemeDoesNot) {
  json backward = time_record(1, 1024, 3, 0.1);
  backward["key"] = "0000000000000000";
  backward["point"]["direction"] = "backward";
  json forward = time_record(1, 1024, 1, 0.1);
  forward["point"]["direction"] = "forward";
  make("strong", {forward, backward});
  const std::string out = report().out;
  EXPECT_NE(out.find("\nzigzag direction=backward      1"), std::string::npos) << out;
  EXPECT_NE(out.find("\nzigzag direction=forward       1"), std::string::npos) << out;
}

/// Twice the heads at another length are no longer context of the same series.
TEST_F(ReportTest, MixesNoShapesIntoOneSeries) {
  const auto of_heads = [](int heads, json record) {
    record["point"]["heads"] = heads;
    record["point"]["threads"] = record["point"]["ranks"];
    record["key"] = launch::study_key(record["point"]);
    return record;
  };
  make("weak", {of_heads(2, time_record(1, 1024, 1, 0.2)), of_heads(2, time_record(2, 2048, 1, 0.4)),
                of_heads(4, time_record(4, 4096, 1, 0.2))});
  const std::string out = squeezed(report().out);
  EXPECT_NE(out.find("zigzag heads=2 2 2k 1.00 s 10.0 % 900.0 ms -10.0 % 100.0 %"), std::string::npos) << out;
  EXPECT_NE(out.find("zigzag heads=4 4 4k 1.00 s 10.0 % 900.0 ms -10.0 % - -"), std::string::npos) << "alone in its series\n" << out;
  EXPECT_EQ(out.find("threads="), std::string::npos) << "threads follow the ranks";
}

TEST_F(ReportTest, TellsBudgetsApart) {
  json small = longest_record(1, 1 << 10, 1 << 10);
  small["point"]["budget_bytes"] = 24 << 20;
  small["measured"]["budget_bytes"] = 24 << 20;
  small["key"] = launch::study_key(small["point"]);
  json large = longest_record(4, 64 << 10, 64 << 10);
  large["point"]["budget_bytes"] = 1 << 30;
  large["key"] = launch::study_key(large["point"]);
  make("capacity", {small, large});
  const std::string out = squeezed(report().out);
  EXPECT_NE(out.find("zigzag budget=24.0 MiB 1 "), std::string::npos) << out;
  EXPECT_NE(out.find("zigzag budget=1.0 GiB 4 1.0 GiB 64k 64k 0.0 % 64k 100.0 %"), std::string::npos) << out;
}

TEST_F(ReportTest, SaysWhatPredictionsStartFrom) {
  json record = time_record(3, 1024, 1, 0.1);
  record["how"]["predicted_from"] = {{"machine", "a cluster"}, {"source", "measured in May"}};
  make("strong", {record, time_record(1, 1024, 5e-5, 0.1)});
  const std::string out = squeezed(report().out);
  EXPECT_NE(out.find("predicted from a cluster (measured in May)"), std::string::npos) << out;
  EXPECT_NE(out.find("ranks 1, 3\n"), std::string::npos) << out;
  EXPECT_NE(out.find(" 50.0 us "), std::string::npos) << out;
}

TEST_F(ReportTest, ReplacesReportsAlone) {
  make("strong", {time_record(1, 1024, 1, 0.1)});
  EXPECT_EQ(report().code, 0);
  EXPECT_EQ(report().code, 0) << "its own";
  fs::create_directory(folder_ / "thesis");
  std::ofstream(folder_ / "thesis/time.svg") << "drawn by hand";
  expect_refusal(report({"--output", folder_ / "thesis"}), 2, "has files and no report");
  EXPECT_EQ(content(folder_ / "thesis/time.svg"), "drawn by hand");
  EXPECT_FALSE(fs::exists(folder_ / "thesis/index.html"));
  fs::copy(path_, folder_ / "a.x");
  EXPECT_EQ(run_program(plainly, {"report", folder_ / "a.x"}).code, 0);
  EXPECT_TRUE(fs::exists(folder_ / "a.x-report/index.html"));
}

TEST_F(ReportTest, ManagesWithoutWhatWasNotMeasured) {
  json bare = time_record(2, 1000, 1, 0.1);
  bare["measured"] = {{"seconds", 1}};
  bare["predicted"] = nullptr;
  make("strong", {bare});
  const Outcome outcome = report();
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(squeezed(line(outcome.out, "Time", "zigzag")), "zigzag 2 1000 1.00 s - - - - - - -");
}

TEST_F(ReportTest, WritesTablesWhereNothingCanDraw) {
  make("strong", {time_record(1, 1024, 1, 0.1), time_record(2, 1024, 1, 0.1)});
  const auto expect_tables_alone = [this] {
    const Outcome outcome = report();
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_NE(outcome.out.find("apt-get install python3-matplotlib"), std::string::npos) << outcome.out;
    EXPECT_NE(page().find("apt-get install python3-matplotlib"), std::string::npos);
    EXPECT_NE(outcome.out.find(fmt::format("ANNULUS_PYTHON names '{}'", std::getenv("ANNULUS_PYTHON"))), std::string::npos) << outcome.out;
    EXPECT_NE(page().find("<td>1.00 s</td>"), std::string::npos) << page();
    EXPECT_EQ(page().find("<img"), std::string::npos);
    EXPECT_FALSE(fs::exists(pages_ + "/time.svg")) << "a picture of other numbers";
  };
  expect_tables_alone();
  std::ofstream(pages_ + "/time.svg") << "<svg/>";
  use_python_that("exit 9");
  expect_tables_alone();
}

TEST_F(ReportTest, SaysWhenTheScriptFails) {
  make("strong", {time_record(1, 1024, 1, 0.1)});
  for (const auto& [script, code] : std::map<std::string, int>{{"exit 0", 4}, {"exit 1", 4}, {"exit 4", 4}, {"kill -9 $$", 4}}) {
    use_python_that(script);
    const Outcome outcome = report();
    expect_refusal(outcome, code, "cannot draw the pictures");
    EXPECT_NE(outcome.out.find("1.00 s"), std::string::npos) << "the tables come first";
    EXPECT_NE(page().find("<td>1.00 s</td>"), std::string::npos);
  }
}

TEST_F(ReportTest, DrawsWhatTheFileHas) {
  unsetenv("ANNULUS_PYTHON");
  if (std::system(
          "for p in python3 /usr/bin/python3; do $p -c 'import matplotlib' 2>/dev/null && exit 0; done; exit 1") != 0) {
    GTEST_SKIP() << "no python3 with matplotlib";
  }
  make("strong", {time_record(1, 1024, 1, 0.1, "$x_{$<b>"), time_record(2, 1024, 0.6, 0.2, "$x_{$<b>")});
  const Outcome outcome = report({"--output", folder_ / "deep/pictures"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  pages_ = folder_ / "deep/pictures";
  std::size_t images = 0;
  for (std::size_t at = 0; (at = page().find("src=\"data:image/svg+xml;base64,PD94bWwg", at)) != std::string::npos;
       ++at)
    ++images;
  EXPECT_EQ(images, 5U);  // "<?xml " in base 64
  for (const char* name : {"time", "efficiency", "layers", "exposed", "memory"}) {
    EXPECT_TRUE(content(pages_ + "/" + name + ".png").starts_with("\x89PNG")) << name;
    EXPECT_TRUE(content(pages_ + "/" + name + ".svg").starts_with("<?xml")) << name;
  }
  for (const char* name : {"longest", "lengths"}) EXPECT_FALSE(fs::exists(pages_ + "/" + name + ".png")) << name;
  make("strong", {time_record(1, 1024, 1, 0.1)});
  EXPECT_EQ(report({"--output", pages_}).code, 0);
  EXPECT_EQ(page().find("<img"), std::string::npos) << "one number of ranks makes no line";
  EXPECT_FALSE(fs::exists(pages_ + "/time.png"));
}

TEST_F(ReportTest, TrustsNoTextOfTheFile) {
  make("strong", {time_record(1, 1024, 1, 0.1, "<script>&\x1b[2J\n\"'")});
  const Outcome outcome = report();
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out.find('\x1b'), std::string::npos);
  EXPECT_EQ(page().find("<script>"), std::string::npos);
  EXPECT_NE(page().find("<td>&lt;script&gt;&amp;?[2J?&quot;&#39;</td>"), std::string::npos) << page();
  EXPECT_NE(page().find("<td>a &lt;CPU&gt;</td>"), std::string::npos) << page();
}

TEST_F(ReportTest, ReadsWhatACrashLeft) {
  make("strong", {time_record(1, 1024, 1, 0.1)});
  std::ofstream(path_, std::ios::app) << "{\"key\":";
  const std::string before = content(path_);
  const Outcome outcome = report();
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("was torn (line 3, 7 bytes"), std::string::npos) << outcome.out;
  EXPECT_EQ(content(path_), before) << "a study may be writing it";
}

TEST_F(ReportTest, RefusesWhatIsNoStudy) {
  expect_refusal(report(), 3, "No such file");
  std::ofstream(path_) << "text\n";
  expect_refusal(report(), 3, "no results of annulus study");
  make("strong", {});
  expect_refusal(report(), 3, "no measured point yet");
  json wrong = time_record(1, 1024, 1, 0.1);
  wrong["measured"]["seconds"] = "fast";
  make("strong", {time_record(2, 1024, 1, 0.1), wrong});
  expect_refusal(report(), 3, "line 3");
  EXPECT_FALSE(fs::exists(pages_));
  for (const char* field : {"/point/ranks", "/point/seq_len", "/scheme", "/measured/layers/0/kind"}) {
    json without = time_record(1, 1024, 1, 0.1);
    without[json::json_pointer(field)] = -1;
    make("strong", {without});
    expect_refusal(report(), 3, field);
  }
}

TEST_F(ReportTest, RefusesFoldersThatCannotBeWritten) {
  make("strong", {time_record(1, 1024, 1, 0.1)});
  std::ofstream(pages_) << "a file";
  const Outcome outcome = report();
  expect_refusal(outcome, 4, "try --output");
  EXPECT_NE(outcome.out.find("1.00 s"), std::string::npos) << "the tables come first";
  expect_refusal(report({"--output", "/proc/report"}), 4, "try --output");
}

TEST_F(ReportTest, RefusesWordsItDoesNotKnow) {
  expect_refusal(run_program(plainly, {"report"}), 2, "RESULTS is missing");
  expect_refusal(report({"--pictures"}), 2, "--pictures");
  EXPECT_NE(run_program(plainly, {"report", "--help"}).out.find("index.html"), std::string::npos);
}

TEST_F(ReportTest, SpeaksOnceUnderALauncher) {
  make("strong", {time_record(1, 1024, 1, 0.1)});
  const Outcome outcome = run_program(3, {"report", path_});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out.find("\nTime\n"), outcome.out.rfind("\nTime\n")) << outcome.out;
  expect_refusal(run_program(3, {"report", folder_ / "absent"}), 3, "No such file");
}

}  // namespace
}  // namespace annulus::test
