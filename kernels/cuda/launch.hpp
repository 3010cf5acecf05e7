/// Where host code meets nvcc: a launch of any kernel.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

struct CUstream_st;

namespace annulus::kernels::cuda {

/// Throws ResourceError unless a grid may have `blocks` blocks: there are fewer than 2^31.
void check_grid(std::int64_t blocks);

/// Enqueues `blocks` blocks. Instantiated in instance.cu.in, once per element type and width, and in row_kernels.cu.
template <class Kernel>
void launch(std::int64_t blocks, const typename Kernel::Args& args, CUstream_st* stream);

}  // namespace annulus::kernels::cuda
