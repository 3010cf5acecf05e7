/// The entry point of every kernel, and its launch.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/cuda_error.hpp"
#include "kernels/cuda/launch.hpp"
#include "kernels/cuda/ptx_machine.cuh"

namespace annulus::kernels::cuda {

/// What a kernel runs on.
template <class Kernel>
struct MachineOf {
  using type = PtxMachine;
};

template <class Kernel>
__global__ void __launch_bounds__(Kernel::threads, Kernel::blocks_per_processor)
    entry(const __grid_constant__ typename Kernel::Args args) {
  typename MachineOf<Kernel>::type machine;
  Kernel::run(machine, args);
}

template <class Kernel>
void launch(std::int64_t blocks, const typename Kernel::Args& args, CUstream_st* stream) {
  check_grid(blocks);
  check_cuda(cudaFuncSetAttribute(entry<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize, Kernel::shared_bytes),
             "reserve shared memory");
  entry<Kernel><<<static_cast<unsigned>(blocks), Kernel::threads, Kernel::shared_bytes, stream>>>(args);
  check_cuda(cudaGetLastError(), "launch a kernel");
}

}  // namespace annulus::kernels::cuda
