/// A team of threads that sleep between jobs and draw task numbers from one counter.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/base/workers.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace annulus {

namespace {
constexpr std::chrono::microseconds idle_poll{100};
}  // namespace

struct Workers::Team {
  std::mutex mutex;
  std::condition_variable wake;
  std::condition_variable idle;
  const std::function<void(std::int64_t, int)>* body = nullptr;
  std::int64_t tasks = 0;
  std::uint64_t job = 0;  ///< counts jobs, so that a sleeper knows a new one from the last
  int running = 0;
  bool stop = false;
  std::atomic<std::int64_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  std::vector<std::jthread> threads;

  void draw_tasks(int worker) {
    try {
      for (std::int64_t task = next++; task < tasks && !failed; task = next++) (*body)(task, worker);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
      failed = true;
    }
  }

  void serve(int worker) {
    std::uint64_t seen = 0;
    std::unique_lock lock(mutex);
    for (;;) {
      wake.wait(lock, [&] { return stop || job != seen; });
      if (stop) return;
      seen = job;
      lock.unlock();
      draw_tasks(worker);
      lock.lock();
      if (--running == 0) idle.notify_one();
    }
  }
};

Workers::Workers(int size) : size_(size), team_(std::make_unique<Team>()) {
  for (int worker = 1; worker < size_; ++worker) {
    team_->threads.emplace_back([team = team_.get(), worker] { team->serve(worker); });
  }
}

Workers::~Workers() {
  {
    const std::lock_guard lock(team_->mutex);
    team_->stop = true;
  }
  team_->wake.notify_all();
}

void Workers::for_each(std::int64_t tasks, const std::function<void(std::int64_t, int)>& body, const Progress& idle) {
  {
    const std::lock_guard lock(team_->mutex);
    team_->body = &body;
    team_->tasks = tasks;
    team_->next = 0;
    team_->failed = false;
    team_->error = nullptr;
    team_->running = size_ - 1;
    ++team_->job;
  }
  team_->wake.notify_all();
  team_->draw_tasks(0);
  std::unique_lock lock(team_->mutex);
  const auto all_done = [&] { return team_->running == 0; };
  while (idle && !team_->idle.wait_for(lock, idle_poll, all_done)) {
    lock.unlock();
    idle();
    lock.lock();
  }
  team_->idle.wait(lock, all_done);
  if (team_->error) std::rethrow_exception(std::exchange(team_->error, nullptr));
}

bool Workers::failed() const { return team_->failed; }

}  // namespace annulus
