/// The GPUs that this process sees, told without a header of CUDA. Local.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace annulus::kernels::cuda {

struct DeviceFacts {
  std::string name;
  int capability = 0;          ///< compute capability times 10
  std::uint64_t identity = 0;  ///< the same wherever a process sees this GPU, under whatever number
  std::uint64_t free_bytes = 0;
  std::uint64_t total_bytes = 0;
};

/// 0 where there is no driver or no GPU, or no CUDA in this build.
int visible_devices();
/// "driver 13.0, runtime 13.0": what the driver supports and what this build was made with; or that there is none.
std::string cuda_versions();
/// Of one of the visible devices. Makes it the current one for the time of the call, which costs memory on it. Throws
/// CudaError.
DeviceFacts device_facts(int device);

/// The device that the calling thread uses.
int current_device();
void use_device(int device);

}  // namespace annulus::kernels::cuda
