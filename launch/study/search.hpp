/// The longest context within a budget of memory, by measurement.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "launch/plan/point.hpp"
#include "runtime/comm/communicator.hpp"

namespace annulus::launch {

struct TriedContext {
  std::int64_t seq_len = 0;
  bool fits = false;
  double seconds = 0;
  std::uint64_t peak_bytes = 0;  ///< of the rank that took most
};

struct LongestContext {
  std::int64_t seq_len = 0;    ///< 0: not even one step
  std::int64_t predicted = 0;
  std::vector<TriedContext> tried;
};

/// The most tokens that the plan puts within `budget` bytes of a rank; 0 if none. Local.
std::int64_t predicted_longest(const PointRequest& request, std::uint64_t budget);

/// Collective. Starts from the forecast and closes in, in steps of 1/64 of it, on the length whose measured memory just
/// stays within `budget` bytes on every rank. Each length is run once.
LongestContext search_longest(const Communicator& ranks, PointRequest request, std::uint64_t budget);

}  // namespace annulus::launch
