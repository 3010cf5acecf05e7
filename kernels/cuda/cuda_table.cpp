/// The row of the CUDA kernels in a build that has them.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cuda_table.hpp"

#include "kernels/cuda/cuda_device.hpp"
#include "kernels/cuda/passes.hpp"

namespace annulus::kernels {

const KernelTable& cuda_table() {
  static const std::string absence = cuda::device_absence();
  static const KernelTable table = [] {
    KernelTable row = cuda::device_row<cuda::cuda_device>("cuda", absence);
    row.take_device_seconds = cuda::take_device_seconds;
    return row;
  }();
  return table;
}

}  // namespace annulus::kernels
