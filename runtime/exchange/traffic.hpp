/// What moving things cost a rank.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/base/stopwatch.hpp"

namespace annulus {

/// What one call cost this rank.
struct Traffic {
  std::uint64_t messages = 0;
  std::uint64_t bytes = 0;
  double exposed_seconds = 0;  ///< spent waiting

  /// A Transfer or a Journey.
  void count(const auto& sent) {
    messages += sent.messages();
    bytes += sent.bytes();
  }

  /// Counts the rest of its scope as waiting.
  class Exposed {
   public:
    explicit Exposed(Traffic& traffic) : traffic_(traffic) {}
    ~Exposed() { traffic_.exposed_seconds += watch_.seconds(); }
    Exposed(const Exposed&) = delete;
    Exposed& operator=(const Exposed&) = delete;

   private:
    Traffic& traffic_;
    Stopwatch watch_;
  };
};

}  // namespace annulus
