/// The GPU of this process as a Device: a stream for each line, copies through pinned staging.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "kernels/cuda/device.hpp"

struct CUstream_st;

namespace annulus::kernels::cuda {

/// Empty, or why this process has no GPU that the kernels run on: no driver, no device, or too old a one.
std::string device_absence();

/// The current device of the calling thread at the first call (CUDA_VISIBLE_DEVICES chooses); lives until the process
/// ends.
Device& cuda_device();

/// The stream behind a line of cuda_device(), for libraries that work on it.
CUstream_st* line_stream(Line line);

/// As KernelTable::take_device_seconds.
double take_device_seconds();

}  // namespace annulus::kernels::cuda
