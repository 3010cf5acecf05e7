/// Where host code meets nvcc: a launch of any kernel, and which instances this build has.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/base/dtype.hpp"

struct CUstream_st;

namespace annulus::kernels::cuda {

/// Enqueues `blocks` blocks. Instantiated in instance.cu.in, once per element type and width, and in row_kernels.cu.
template <class Kernel>
void launch(std::int64_t blocks, const typename Kernel::Args& args, CUstream_st* stream);

/// Slim builds (ANNULUS_CUDA_KERNELS) have one instance of each family.
template <class T, int width>
constexpr bool is_built = ANNULUS_ALL_CUDA_KERNELS != 0 || (std::is_same_v<T, bf16> && width == 128);

}  // namespace annulus::kernels::cuda
