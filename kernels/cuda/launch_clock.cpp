/// Pairs of events.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/launch_clock.hpp"

#include <cuda_runtime_api.h>

#include "kernels/cuda/cuda_error.hpp"

namespace annulus::kernels::cuda {

void LaunchClock::mark(cudaStream_t stream) {
  if (marks_ == events_.size()) {
    cudaEvent_t event = nullptr;
    check_cuda(cudaEventCreate(&event), "create an event");
    events_.push_back(event);
  }
  check_cuda(cudaEventRecord(events_[marks_++], stream), "record an event");
}

double LaunchClock::take() {
  double milliseconds = 0;
  for (std::size_t i = 0; i + 1 < marks_; i += 2) {
    float of_launch = 0;
    check_cuda(cudaEventSynchronize(events_[i + 1]), "compute");
    check_cuda(cudaEventElapsedTime(&of_launch, events_[i], events_[i + 1]), "tell the time of a launch");
    milliseconds += static_cast<double>(of_launch);
  }
  marks_ = 0;
  counting_ = true;
  return milliseconds * 1e-3;
}

}  // namespace annulus::kernels::cuda
