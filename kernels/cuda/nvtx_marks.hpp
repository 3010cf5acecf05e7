/// Ranges for NVIDIA's profilers (NVTX).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/base/range_marks.hpp"

namespace annulus::kernels::cuda {

/// Marks that Nsight Systems shows in the domain "annulus"; they do nothing while no profiler is attached. None in a build
/// without CUDA.
RangeMarks nvtx_marks();

}  // namespace annulus::kernels::cuda
