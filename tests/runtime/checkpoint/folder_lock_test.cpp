/// One holder at a time, and a dead one is none.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/folder_lock.hpp"

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "kernels/base/error.hpp"

namespace annulus::checkpoint {
namespace {

namespace fs = std::filesystem;

class FolderLockTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "annulus_lock.XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  /// A process that takes the lock and keeps it.
  pid_t holder() const {
    const pid_t child = fork();
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);  // it outlives no test
      const FolderLock lock(folder_);
      std::ofstream(folder_ + "/held").put('1');
      while (true) pause();
    }
    while (!fs::exists(folder_ + "/held")) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return child;
  }

  std::string folder_;
};

TEST_F(FolderLockTest, RefusesASecondHolderByName) {
  const FolderLock first(folder_);
  EXPECT_TRUE(first.held());
  try {
    const FolderLock second(folder_);
    ADD_FAILURE() << "two hold it";
  } catch (const ResourceError& error) {
    EXPECT_NE(std::string(error.what()).find("process " + std::to_string(getpid()) + " on "), std::string::npos)
        << error.what();
  }
}

TEST_F(FolderLockTest, IsFreeOnceItsHolderIsDead) {
  const pid_t child = holder();
  ASSERT_GT(child, 1);
  std::thread killer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    kill(child, SIGKILL);
  });
  const FolderLock lock(folder_);  // waits for the one that is about to die
  EXPECT_TRUE(lock.held());
  killer.join();
  waitpid(child, nullptr, 0);
}

TEST_F(FolderLockTest, NeedsAFolderThatCanBeWritten) {
  EXPECT_THROW(FolderLock(folder_ + "/absent"), ResourceError);
  EXPECT_THROW(FolderLock("/proc"), ResourceError);
}

}  // namespace
}  // namespace annulus::checkpoint
