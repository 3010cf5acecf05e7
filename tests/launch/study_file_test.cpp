/// The results file: what is there stays, what is torn goes, what differs is refused.
// SPDX-License-Identifier: Apache-2.0
#include "launch/study/file.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "kernels/base/error.hpp"

namespace annulus::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json header(const std::string& study = "strong", const std::string& fingerprint = "cafe") {
  return {{"study", study}, {"machine", {{"fingerprint", fingerprint}, {"ranks", 4}}}, {"seq_len", {1024, 2048}}};
}

json record(std::int64_t seq_len) {
  const json point{{"ranks", 2}, {"seq_len", seq_len}};
  return {{"key", study_key(point)}, {"point", point}, {"measured", {{"seconds", 0.5}}}};
}

class StudyFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "annulus_study.XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    path_ = folder_ + "/results.jsonl";
  }
  void TearDown() override { fs::remove_all(folder_); }

  void make(std::initializer_list<std::int64_t> lengths) const {
    StudyFile file(path_, header());
    for (const std::int64_t length : lengths) file.append(record(length));
  }
  std::string bytes() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void write(const std::string& text) const { std::ofstream(path_, std::ios::binary) << text; }
  /// Opening throws `Thrown`, whose message has all `words`, and leaves every byte.
  template <class Thrown>
  void expect_refusal(const json& with, std::initializer_list<std::string> words) const {
    const std::string before = bytes();
    try {
      const StudyFile file(path_, with);
      ADD_FAILURE() << "opened";
    } catch (const Thrown& error) {
      for (const std::string& word : words)
        EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
    EXPECT_EQ(bytes(), before);
  }

  std::string folder_;
  std::string path_;
};

TEST(StudyKey, IsOneOfTheConfigurationAlone) {
  const std::string key = study_key(json::parse(R"({"ranks": 4, "seq_len": 1024})"));
  EXPECT_EQ(key.size(), 16U);
  EXPECT_EQ(key.find_first_not_of("0123456789abcdef"), std::string::npos) << key;
  EXPECT_EQ(study_key(json::parse(R"({"seq_len":1024,"ranks":4})")), key) << "order does not count";
  EXPECT_NE(study_key(json::parse(R"({"seq_len":1024,"ranks":5})")), key);
}

TEST_F(StudyFileTest, KeepsWhatWasMeasured) {
  make({1024, 2048});
  StudyFile file(path_, header());
  EXPECT_EQ(file.size(), 2U);
  EXPECT_EQ(file.note(), "");
  EXPECT_EQ(file.header()["seq_len"], json({1024, 2048}));
  ASSERT_NE(file.find(record(2048)["key"]), nullptr);
  EXPECT_EQ(*file.find(record(2048)["key"]), record(2048));
  EXPECT_FALSE(file.has(record(4096)["key"]));
  file.append(record(4096));
  EXPECT_TRUE(file.has(record(4096)["key"]));
  EXPECT_EQ(read_study(path_).records.size(), 3U) << "read while it is held";
}

TEST_F(StudyFileTest, LaterLinesReplaceEarlierOnes) {
  make({1024});
  json again = record(1024);
  again["measured"]["seconds"] = 0.25;
  StudyFile(path_, header()).append(again);
  EXPECT_EQ(StudyFile(path_, header()).find(again["key"])->at("measured").at("seconds"), 0.25);
}

TEST_F(StudyFileTest, CutsATornLineOff) {
  make({1024, 2048});
  const std::string whole = bytes();
  for (const std::string& torn : {record(4096).dump(), std::string(R"({"key":"0)"), std::string("\0\0\0\n", 4)}) {
    write(whole + torn);
    EXPECT_EQ(read_study(path_).records.size(), 2U);
    EXPECT_EQ(bytes(), whole + torn) << "a reader changes nothing";
    StudyFile file(path_, header());
    EXPECT_NE(file.note().find("torn (line 4, " + std::to_string(torn.size())), std::string::npos) << file.note();
    EXPECT_EQ(file.size(), 2U);
    EXPECT_EQ(bytes(), whole);
    file.append(record(4096));
    EXPECT_EQ(bytes(), whole + record(4096).dump() + "\n");
  }
}

TEST_F(StudyFileTest, RefusesDamageBeforeTheEnd) {
  make({1024, 2048});
  std::string text = bytes();
  text[text.find('\n') + 1] = '?';
  write(text);
  expect_refusal<InputError>(header(), {path_, "line 2", "damaged"});
}

TEST_F(StudyFileTest, RefusesAnotherStudy) {
  make({1024});
  expect_refusal<InputError>(header("weak"), {"'strong'", "'weak'", "another file"});
  expect_refusal<InputError>(header("strong", "beef"), {"'cafe'", "'beef'", "machine", "another file"});
  const std::string text = bytes();
  const std::string version = json::parse(text.substr(0, text.find('\n')))["version"];
  std::string other = text;
  other.replace(other.find("\"version\":\"" + version), 11 + version.size(), "\"version\":\"9.9.9");
  write(other);
  expect_refusal<InputError>(header(), {"'9.9.9'", "'" + version + "'", "another file"});
  EXPECT_EQ(read_study(path_).records.size(), 1U) << "any program's numbers can be read";
  other = text;
  other.replace(other.find("\"format_version\":1"), 18, "\"format_version\":2");
  write(other + "torn");
  expect_refusal<InputError>(header(), {"version 2", "version 1", "another file"});
}

TEST_F(StudyFileTest, RefusesWhatIsNoStudy) {
  for (const char* text : {"ring attention\n", "ring attention", "{}\n", "\n", "[1]\n{}"}) {
    write(text);
    expect_refusal<InputError>(header(), {path_, "no results", "another file"});
    EXPECT_THROW(read_study(path_), InputError);
  }
  EXPECT_THROW(read_study(folder_), InputError);
  EXPECT_THROW(read_study(folder_ + "/absent"), InputError);
}

TEST_F(StudyFileTest, StartsInAnEmptyFile) {
  write("");
  make({1024});
  EXPECT_EQ(read_study(path_).records.size(), 1U);
}

TEST_F(StudyFileTest, NeedsAFolderThatCanBeWritten) {
  EXPECT_THROW(StudyFile("/proc/results.jsonl", header()), ResourceError);
  EXPECT_THROW(StudyFile(folder_ + "/absent/results.jsonl", header()), ResourceError);
  EXPECT_THROW(StudyFile(folder_, header()), ResourceError);
}

TEST_F(StudyFileTest, EndsAsBeforeWhenTheDiskIsFull) {
  std::signal(SIGXFSZ, SIG_IGN);
  make({1024});
  const std::string before = bytes();
  StudyFile file(path_, header());
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit limit{before.size() + 10, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  EXPECT_THROW(file.append(record(2048)), ResourceError);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  EXPECT_EQ(bytes(), before) << "half a line was taken back";
  EXPECT_FALSE(file.has(record(2048)["key"]));
  file.append(record(2048));
  EXPECT_EQ(read_study(path_).records.size(), 2U);
}

TEST_F(StudyFileTest, BelongsToOneStudyAtATime) {
  const StudyFile first(path_, header());
  const std::string self = "process " + std::to_string(getpid());
  expect_refusal<ResourceError>(header(), {path_, self, "holds it for a study", "another file"});
  const StudyFile beside(folder_ + "/others.jsonl", header());
}

}  // namespace
}  // namespace annulus::launch
