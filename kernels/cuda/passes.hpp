/// The passes of the CUDA row over any Device: host tensors in and out, carries on the device.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/device.hpp"
#include "kernels/cuda/geometry.hpp"

namespace annulus::kernels::cuda {

std::unique_ptr<ForwardPass> make_forward(Device& device, const Problem& problem, const ConstTensorView& q,
                                          Resources resources);
std::unique_ptr<BackwardPass> make_backward(Device& device, const Problem& problem, const BackwardInputs& inputs,
                                            Resources resources);

/// A row of the kernel table whose passes run on the device that `find_device` returns.
template <Device& (*find_device)()>
KernelTable device_row(std::string_view name, std::string_view unavailable) {
  return {.name = name,
          .unavailable = unavailable,
          .f64 = false,
          .bf16_products = true,
          .packed_rows = cuda::packed_rows,
          .pack = cuda::pack,
          .pass_bytes = cuda::pass_bytes,
          .device_bytes = cuda::device_bytes,
          .forward = [](const Problem& problem, const ConstTensorView& q,
                        Resources resources) { return make_forward(find_device(), problem, q, resources); },
          .backward = [](const Problem& problem, const BackwardInputs& inputs,
                         Resources resources) { return make_backward(find_device(), problem, inputs, resources); },
          .gradient_rows = cuda::gradient_rows,
          .key_tile = [](std::int64_t) -> std::int64_t { return 1; },
          .unpack_gradient = cuda::unpack_gradient,
          .device = find_device};
}

}  // namespace annulus::kernels::cuda
