/// What devices say when they are full.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/device.hpp"

#include <string>

#include "kernels/base/error.hpp"

namespace annulus::kernels::cuda {

void refuse_memory(std::int64_t bytes, std::uint64_t free, std::uint64_t total) {
  throw ResourceError("cannot allocate " + std::to_string(bytes) + " bytes on the GPU (" + std::to_string(free) + " of " +
                      std::to_string(total) + " are free); try more ranks, or --backend auto");
}

}  // namespace annulus::kernels::cuda
