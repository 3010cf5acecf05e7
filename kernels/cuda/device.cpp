/// What devices say when they are full, or asked for too much at once.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/device.hpp"

#include <limits>
#include <string>

#include "kernels/base/error.hpp"
#include "kernels/cuda/launch.hpp"

namespace annulus::kernels::cuda {

void refuse_memory(std::int64_t bytes, std::uint64_t free, std::uint64_t total) {
  throw ResourceError("cannot allocate " + std::to_string(bytes) + " bytes on the GPU (" + std::to_string(free) + " of " +
                      std::to_string(total) + " are free); try more ranks, or --backend auto");
}

void check_grid(std::int64_t blocks) {
  if (blocks <= std::numeric_limits<std::int32_t>::max()) return;
  throw ResourceError("a launch of " + std::to_string(blocks) +
                      " blocks (a grid has up to 2^31 - 1); try more ranks");
}

}  // namespace annulus::kernels::cuda
