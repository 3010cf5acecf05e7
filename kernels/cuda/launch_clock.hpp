/// How long launches take on the GPU, by events around each.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

struct CUevent_st;
struct CUstream_st;

namespace annulus::kernels::cuda {

/// Counts nothing, at no cost, until it is first asked. Events live until the process ends, like the device.
class LaunchClock {
 public:
  /// Runs `launch`, which enqueues work on `stream`.
  template <class Launch>
  void time(CUstream_st* stream, Launch&& launch) {
    if (counting_) mark(stream);
    launch();
    if (counting_) mark(stream);
  }
  /// Seconds of the launches since the last call; waits for them.
  double take();

 private:
  void mark(CUstream_st* stream);

  std::vector<CUevent_st*> events_;  ///< begin and end of each launch; reused
  std::size_t marks_ = 0;
  bool counting_ = false;
};

}  // namespace annulus::kernels::cuda
