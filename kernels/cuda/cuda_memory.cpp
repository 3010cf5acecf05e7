/// Pointers and copies of the CUDA runtime.
// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime_api.h>

#include "kernels/cuda/cuda_error.hpp"
#include "kernels/cuda/device_memory.hpp"
#include "kernels/cuda/devices.hpp"

namespace annulus::kernels::cuda {
namespace {

bool holds(const void* p) {
  static const bool any_device = visible_devices() > 0;
  if (!any_device) return false;
  cudaPointerAttributes attributes{};
  check_cuda(cudaPointerGetAttributes(&attributes, p), "tell where memory is");
  return attributes.type == cudaMemoryTypeDevice;
}

void copy(const RowCopy& rows, void* stream) {
  check_cuda(cudaMemcpy2DAsync(rows.to, static_cast<std::size_t>(rows.to_pitch), rows.from,
                               static_cast<std::size_t>(rows.from_pitch), static_cast<std::size_t>(rows.row_bytes),
                               static_cast<std::size_t>(rows.rows), cudaMemcpyDefault, static_cast<cudaStream_t>(stream)),
             "copy rows");
}

void synchronize(void* stream) {
  check_cuda(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)), "wait for a stream");
}

}  // namespace

const DeviceMemory& cuda_memory() {
  static constexpr DeviceMemory memory{holds, copy, synchronize};
  return memory;
}

}  // namespace annulus::kernels::cuda
