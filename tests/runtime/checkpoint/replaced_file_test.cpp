/// The old file or the new one, never a torn one and never a leftover.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/replaced_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "kernels/base/error.hpp"

namespace annulus {
namespace {

namespace fs = std::filesystem;

class ReplacedFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string folder = (fs::temp_directory_path() / "annulus_replaced.XXXXXX").string();
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    path_ = (folder_ / "file").string();
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string content() const {
    std::ifstream file(path_);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  auto entries() const { return std::distance(fs::directory_iterator(folder_), {}); }

  fs::path folder_;
  std::string path_;
};

TEST_F(ReplacedFileTest, ReplacesTheOldContentOnlyOnCommit) {
  std::ofstream(path_) << "old";
  {
    ReplacedFile file(path_);
    file.append("new");
    EXPECT_EQ(content(), "old");
    file.commit();
  }
  EXPECT_EQ(content(), "new");
  EXPECT_EQ(entries(), 1);
}

TEST_F(ReplacedFileTest, LeavesNothingWithoutCommit) {
  {
    const ReplacedFile file(path_);
    file.append("new");
    EXPECT_EQ(entries(), 1);
  }
  EXPECT_EQ(entries(), 0);
}

TEST_F(ReplacedFileTest, RefusesWhatCannotBeAFile) {
  EXPECT_THROW(ReplacedFile{folder_.string()}, ResourceError);
  EXPECT_THROW(ReplacedFile{(folder_ / "absent" / "file").string()}, ResourceError);
  EXPECT_THROW(ReplacedFile{"/proc/annulus"}, ResourceError);
  EXPECT_EQ(entries(), 0);
}

TEST_F(ReplacedFileTest, RefusesLinksAndItsOwnOutput) {
  std::ofstream(folder_ / "target") << "old";
  std::filesystem::create_symlink(folder_ / "target", path_);
  EXPECT_THROW(ReplacedFile{path_}, ResourceError);
  EXPECT_TRUE(std::filesystem::is_symlink(path_));
  std::fflush(stdout);
  const int kept = dup(STDOUT_FILENO);
  const int target = open((folder_ / "target").c_str(), O_WRONLY);
  ASSERT_GE(dup2(target, STDOUT_FILENO), 0);
  EXPECT_THROW(ReplacedFile{(folder_ / "target").string()}, ResourceError);
  ASSERT_GE(dup2(kept, STDOUT_FILENO), 0);
  close(target);
  close(kept);
  EXPECT_NO_THROW(ReplacedFile{(folder_ / "target").string()});
  EXPECT_EQ(entries(), 2);
}

TEST_F(ReplacedFileTest, SpaceThatIsNotThereIsAResourceError) {
  struct rlimit before {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small { 4096, before.rlim_max };
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const ReplacedFile file(path_);
  EXPECT_THROW(file.reserve(8192), ResourceError);
  EXPECT_NO_THROW(file.reserve(4096));
  EXPECT_THROW(file.append(std::string(8192, 'x')), ResourceError);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
}

}  // namespace
}  // namespace annulus
