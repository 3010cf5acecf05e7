/// Seconds that pass, on a clock that never goes back.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <utility>

namespace annulus {

/// Runs from its construction on.
class Stopwatch {
 public:
  double seconds() const { return between(start_, Clock::now()); }
  /// Seconds since the last lap ended, or since the start; the next lap begins.
  double lap() {
    const auto now = Clock::now();
    return between(std::exchange(lap_, now), now);
  }

 private:
  using Clock = std::chrono::steady_clock;
  static double between(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
  }
  Clock::time_point start_ = Clock::now();
  Clock::time_point lap_ = start_;
};

}  // namespace annulus
