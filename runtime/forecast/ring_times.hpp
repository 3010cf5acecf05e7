/// When the ranks of a ring compute, and when they wait: the ring's steps, played through. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

namespace annulus::forecast {

/// What every step costs, in seconds. Groups of consecutive ranks read blocks in place (see RingSchedule).
struct RingCosts {
  int ranks = 1;
  int group_size = 1;
  std::function<double(int rank, int step)> compute;
  /// Of the block that reaches `rank` at the end of `hop`.
  std::function<double(int rank, int hop)> block;
  /// Backward alone, else empty: of the sum of gradients that reaches `rank` behind it; at the last hop, what comes home.
  std::function<double(int rank, int hop)> gradient{};
  int last_pieces = 1;  ///< in which the last step computes and sends its sums
};

struct RingTimes {
  double seconds = 0;          ///< until the last rank is done
  double compute_seconds = 0;  ///< of the rank that computes most
  double mean_compute_seconds = 0;
  double exposed_seconds = 0;  ///< of the rank that waits longest, for blocks, sums and slower ranks
};

/// O(ranks^2) calls of `compute`. A hop begins when both sides are there; the sums of a hop go before the next blocks, on
/// the same link; sums are added to by the members of a group one after the other.
RingTimes ring_times(const RingCosts& costs);

}  // namespace annulus::forecast
