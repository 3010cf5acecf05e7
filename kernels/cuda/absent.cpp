/// Stands in for the CUDA kernels in a build without them: callers need no #ifdef.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cuda_table.hpp"
#include "kernels/cuda/device_memory.hpp"
#include "kernels/cuda/devices.hpp"
#include "kernels/cuda/geometry.hpp"
#include "kernels/cuda/nvtx_marks.hpp"

namespace annulus::kernels {

const KernelTable& cuda_table() {
  static constexpr KernelTable absent{.name = "cuda",
                                      .unavailable = "not built (this build has no CUDA kernels)",
                                      .f64 = false,
                                      .packed_rows = cuda::packed_rows,  // sizes are for plans of other machines
                                      .pack = nullptr,
                                      .pass_bytes = cuda::pass_bytes,
                                      .device_bytes = cuda::device_bytes,
                                      .forward = nullptr,
                                      .backward = nullptr,
                                      .gradient_rows = cuda::gradient_rows,
                                      .key_tile = [](std::int64_t) -> std::int64_t { return 1; },
                                      .unpack_gradient = nullptr};
  return absent;
}

namespace cuda {

int visible_devices() { return 0; }
std::string cuda_versions() { return "this build has no CUDA"; }
DeviceFacts device_facts(int) { return {}; }
int current_device() { return 0; }
void use_device(int) {}  // callers have asked visible_devices()

RangeMarks nvtx_marks() { return {}; }

const DeviceMemory& cuda_memory() {
  static constexpr DeviceMemory none{[](const void*) { return false; }, nullptr, nullptr};  // holds nothing to copy
  return none;
}

}  // namespace cuda
}  // namespace annulus::kernels
