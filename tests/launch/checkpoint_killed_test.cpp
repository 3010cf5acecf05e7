/// SIGKILL at random moments of a save loop: what was reported as saved is there afterwards, bit for bit, and a dead
/// job's lock stops nobody.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <random>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/launch/program.hpp"

namespace annulus {
namespace {

/// Numbers behind `word` in the lines of a log.
std::vector<int> numbers_behind(const std::string& word, const std::string& path) {
  std::vector<int> numbers;
  std::ifstream log(path);
  for (std::string line; std::getline(log, line);) {
    if (line.starts_with(word + " ")) numbers.push_back(std::atoi(line.c_str() + word.size() + 1));
  }
  return numbers;
}

/// The saver on some ranks, under the launcher. Signals go to processes that this test started and to no other: to the
/// launcher while it is an unreaped child, to a rank while its command line names this test's folder.
class Job {
 public:
  Job(std::string folder, std::string log) : folder_(std::move(folder)), log_(std::move(log)) {
    const pid_t child = fork();
    if (child < 0) throw std::runtime_error("cannot start a process");
    if (child == 0) become_launcher();
    launcher_ = child;
  }
  ~Job() {
    kill_everybody();
    wait();
  }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  std::vector<int> saved() const { return numbers_behind("saved", log_); }
  std::string log() const { return content(log_); }
  /// False if the job ended before.
  bool save_something() {
    while (saved().empty() && running()) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    return !saved().empty();
  }
  void kill_launcher() const {
    if (launcher_) kill(*launcher_, SIGKILL);
  }
  void kill_rank() const {
    const auto ranks = numbers_behind("rank", log_);
    if (!ranks.empty()) kill_if_saver(ranks.back());
  }
  void kill_everybody() const {
    kill_launcher();
    for (const int rank : numbers_behind("rank", log_)) kill_if_saver(rank);
  }
  /// Until the launcher has ended.
  void wait() {
    if (launcher_) waitpid(*launcher_, nullptr, 0);
    launcher_.reset();
  }

 private:
  static std::string content(const std::string& path) {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
  bool running() {
    if (launcher_ && waitpid(*launcher_, nullptr, WNOHANG) != 0) launcher_.reset();
    return launcher_.has_value();
  }
  [[noreturn]] void become_launcher() const {
    const int out = open(log_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(out, 1);
    dup2(out, 2);
    const std::string line = "exec " ANNULUS_TEST_LAUNCHER " " ANNULUS_TEST_LAUNCHER_FLAGS " " ANNULUS_TEST_NUMPROC_FLAG
                             " 3 " ANNULUS_TEST_SAVER " save '" +
                             folder_ + "'";
    execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
    _exit(127);
  }
  /// A number from a log may be anything, and 0 and -1 mean whole groups of processes.
  void kill_if_saver(int process) const {
    if (process <= 1) return;
    const std::string command = content("/proc/" + std::to_string(process) + "/cmdline");
    if (command.starts_with(ANNULUS_TEST_SAVER) && command.find(folder_) != std::string::npos) kill(process, SIGKILL);
  }

  std::string folder_;
  std::string log_;
  std::optional<pid_t> launcher_;  ///< empty once reaped: its number may then be another's
};

TEST(KilledSaver, LosesNothingThatItReported) {
  constexpr int kills = 6;
  const test::Folder folder;
  const std::string path = folder / "ckpt";
  std::mt19937 random(std::random_device{}());
  for (int i = 0; i < kills; ++i) {
    Job job(path, folder / ("log" + std::to_string(i)));
    ASSERT_TRUE(job.save_something()) << job.log();
    const auto delay = std::chrono::microseconds(random() % 120'000);
    std::this_thread::sleep_for(delay);
    if (i % 3 == 0) job.kill_launcher();
    if (i % 3 == 1) job.kill_rank();
    if (i % 3 == 2) job.kill_everybody();
    job.wait();
    const auto saved = job.saved();
    ASSERT_FALSE(saved.empty());
    const test::Outcome outcome = test::run_ranks({{.program = ANNULUS_TEST_SAVER, .words = {"check", path}}});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(outcome.out.find("skipped"), std::string::npos) << outcome.out;
    const auto at = outcome.out.find("newest ");
    ASSERT_NE(at, std::string::npos) << outcome.out;
    EXPECT_GE(std::atoi(outcome.out.c_str() + at + 7), saved.back()) << delay.count() << " us after the first";
  }
}

}  // namespace
}  // namespace annulus
