/// The threads of one rank: a fixed team that shares numbered tasks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace annulus {

/// Called by worker 0 (the thread that called the library) every ~100 us of kernel work: moves messages on.
using Progress = std::function<void()>;

/// A team of `size` threads; worker 0 is the calling thread, so a team of one starts no thread.
/// Not re-entrant: one `for_each` at a time.
class Workers {
 public:
  explicit Workers(int size);
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  int size() const { return size_; }

  /// Runs body(task, worker) for every task in [0, tasks). Tasks start in ascending order, so a task may wait for a
  /// lower one. Rethrows the first exception after all workers have stopped; a waiting task must watch failed().
  /// `idle` (if given) is called every ~100 us while worker 0 has no task left and waits for the others.
  void for_each(std::int64_t tasks, const std::function<void(std::int64_t task, int worker)>& body,
                const Progress& idle = {});

  /// True once a task of the running for_each has thrown.
  bool failed() const;

 private:
  struct Team;
  int size_;
  std::unique_ptr<Team> team_;
};

}  // namespace annulus
