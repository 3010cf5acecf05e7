/// Products of f32 matrices on a device. cuBLAS implements them (cublas_unit), and tests.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "kernels/cuda/device.hpp"

namespace annulus::kernels::cuda {

/// c = op(a) op(b) in the terms of BLAS: op transposes or does nothing, op(a) is [m, k], op(b) [k, n], c [m, n], and element
/// (i, j) of a matrix lies at i + j * its stride. All of it on the device.
struct MatrixProduct {
  bool transpose_a = false;
  bool transpose_b = false;
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;
  const float* a = nullptr;
  std::int64_t a_stride = 0;
  const float* b = nullptr;
  std::int64_t b_stride = 0;
  float* c = nullptr;
  std::int64_t c_stride = 0;
};

class MatrixUnit {
 public:
  virtual ~MatrixUnit() = default;
  virtual Device& device() = 0;
  /// On the device's line of kernels. Products and sums in f32, never tf32. Throws ResourceError with the numbers.
  virtual void multiply(const MatrixProduct& product) = 0;
};

/// Whether this build has cuBLAS.
bool has_cublas();
/// "13.7.0", or that this build has none.
std::string cublas_version();
/// cuBLAS on the GPU of this process, begun at the first call. Only where has_cublas() and the GPU runs our kernels. Throws
/// ResourceError.
MatrixUnit& cublas_unit();

}  // namespace annulus::kernels::cuda
