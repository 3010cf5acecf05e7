/// One line that shows how far long work has come, where a person watches.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string_view>

#include "runtime/comm/communicator.hpp"

namespace annulus::launch {

/// Rewrites one line of rank 0's stderr, at most ten times a second; nothing at all unless it ends at a terminal, so
/// that batch logs stay clean. The destructor wipes the line. Local.
class ProgressLine {
 public:
  explicit ProgressLine(const Communicator& world);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void show(std::string_view text);

 private:
  bool watched_;
  bool dirty_ = false;
  std::chrono::steady_clock::time_point next_{};
};

}  // namespace annulus::launch
