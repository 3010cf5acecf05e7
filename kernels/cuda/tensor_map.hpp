/// Tensor maps of TMA for device memory. Where Hopper kernels are built.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/base/dtype.hpp"
#include "kernels/cuda/args.hpp"

namespace annulus::kernels::cuda {

/// Of [planes][rows][columns] elements of 16 bits at `data` (aligned to 16 bytes), in boxes of a slab's columns
/// (matrix_descriptor.hpp) and `box_rows` rows, swizzled over 128 bytes. What a box has outside of the tensor is zero.
/// Throws CudaError if the driver refuses.
TensorMap tensor_map(const void* data, DType dtype, int columns, std::int64_t rows, std::int64_t planes, int box_rows);

}  // namespace annulus::kernels::cuda
