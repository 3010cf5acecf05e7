/// A program whose backend "cuda" is the emulator, and whose MPI says of itself what a test wants.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/comm/cuda_aware.hpp"
#include "tests/support/emulated_device.hpp"

namespace annulus::test {

/// Of this process. Linked in place of kernels/cuda's own answers (annulus_emulated_cuda).
struct EmulatedCuda {
  bool hopper = false;                ///< until the first call of the device
  std::uint64_t identity = 1;         ///< ranks with one share a device
  CudaAware aware = CudaAware::no;
};
EmulatedCuda& emulated_cuda();

}  // namespace annulus::test
