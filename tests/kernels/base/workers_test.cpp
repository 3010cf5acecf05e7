/// The team of threads: every task once, in ascending order, and failures that end a job but not the team.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/base/workers.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

namespace annulus {
namespace {

class Teams : public testing::TestWithParam<int> {
 protected:
  Workers workers{GetParam()};
};

TEST_P(Teams, RunEveryTaskOnce) {
  for (const std::int64_t tasks : {0, 1, 2, 100}) {
    std::vector<std::atomic<int>> runs(static_cast<std::size_t>(tasks));
    workers.for_each(tasks, [&](std::int64_t task, int worker) {
      ++runs[static_cast<std::size_t>(task)];
      EXPECT_GE(worker, 0);
      EXPECT_LT(worker, workers.size());
    });
    for (const auto& count : runs) EXPECT_EQ(count, 1);
  }
}

TEST_P(Teams, GiveWorkerZeroToTheCaller) {
  const auto caller = std::this_thread::get_id();
  workers.for_each(200,
                   [&](std::int64_t, int worker) { EXPECT_EQ(worker == 0, std::this_thread::get_id() == caller); });
}

TEST_P(Teams, StartTasksInAscendingOrder) {
  std::atomic<std::int64_t> done{0};  // a task may wait for the one before it: any other order would never end
  workers.for_each(500, [&](std::int64_t task, int) {
    while (done != task) std::this_thread::yield();
    ++done;
  });
  EXPECT_EQ(done, 500);
}

TEST_P(Teams, RethrowTheFirstFailureAndWorkOn) {
  const auto failing = [&](std::int64_t task, int) {
    if (task == 3) throw std::runtime_error("task 3");
    while (task > 3 && !workers.failed()) std::this_thread::yield();
  };
  EXPECT_THROW(workers.for_each(50, failing), std::runtime_error);
  std::atomic<int> runs{0};
  workers.for_each(10, [&](std::int64_t, int) { ++runs; });
  EXPECT_EQ(runs, 10);
  EXPECT_FALSE(workers.failed());
}

TEST_P(Teams, SkipWhatHasNotStartedWhenATaskFails) {
  std::atomic<int> later{0};
  const auto failing = [&](std::int64_t task, int) {
    if (task == 0) throw std::runtime_error("task 0");
    while (!workers.failed()) std::this_thread::yield();
    ++later;
  };
  EXPECT_THROW(workers.for_each(1000, failing), std::runtime_error);
  EXPECT_LT(later, workers.size());
}

TEST_P(Teams, LetTheCallerIdleWhileOthersWork) {
  const auto caller = std::this_thread::get_id();
  std::atomic<int> idles{0};
  const auto until_idle = [&](std::int64_t, int worker) {
    while (worker != 0 && idles == 0) std::this_thread::yield();
  };
  workers.for_each(workers.size(), until_idle, [&] {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    ++idles;
  });
}

TEST_P(Teams, ServeManyShortJobs) {
  std::atomic<std::int64_t> sum{0};
  for (int job = 0; job < 2000; ++job) workers.for_each(3, [&](std::int64_t task, int) { sum += task; });
  EXPECT_EQ(sum, 6000);
}

INSTANTIATE_TEST_SUITE_P(Sizes, Teams, testing::Values(1, 2, 5));

}  // namespace
}  // namespace annulus
