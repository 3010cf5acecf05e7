/// cuBLAS behind MatrixUnit, on the stream of the kernels.
// SPDX-License-Identifier: Apache-2.0
#include <cublas_v2.h>
#include <cuda_runtime_api.h>

#include "kernels/cuda/cuda_device.hpp"
#include "kernels/cuda/matrix_unit.hpp"

namespace annulus::kernels::cuda {
namespace {

std::string memory_text() {
  std::size_t free = 0;
  std::size_t total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) return "its memory cannot be told";
  return std::to_string(free) + " of " + std::to_string(total) + " bytes of the GPU are free";
}

void check_cublas(cublasStatus_t status, const std::string& doing) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw ResourceError("cuBLAS failed to " + doing + " (status " + std::to_string(static_cast<int>(status)) + ": " +
                      cublasGetStatusString(status) + "; " + memory_text() + "); try more GPUs, or --backend auto");
}

std::string doing(const MatrixProduct& product) {
  return "multiply matrices of " + std::to_string(product.m) + " x " + std::to_string(product.k) + " and " +
         std::to_string(product.k) + " x " + std::to_string(product.n);
}

cublasOperation_t operation(bool transpose) { return transpose ? CUBLAS_OP_T : CUBLAS_OP_N; }

/// Never ends: the runtime may be gone before static objects.
class CublasUnit final : public MatrixUnit {
 public:
  CublasUnit() {
    check_cublas(cublasCreate(&handle_), "start");
    check_cublas(cublasSetStream(handle_, line_stream(Line::kernels)), "take a stream");
    check_cublas(cublasSetMathMode(handle_, CUBLAS_DEFAULT_MATH), "choose f32");  // tf32 has a mode of its own
  }

  Device& device() override { return cuda_device(); }

  void multiply(const MatrixProduct& product) override {
    const float one = 1;
    const float zero = 0;
    check_cublas(cublasSgemm_64(handle_, operation(product.transpose_a), operation(product.transpose_b), product.m, product.n,
                                product.k, &one, product.a, product.a_stride, product.b, product.b_stride, &zero, product.c,
                                product.c_stride),
                 doing(product));
  }

 private:
  cublasHandle_t handle_ = nullptr;
};

}  // namespace

bool has_cublas() { return true; }

std::string cublas_version() {
  return std::to_string(CUBLAS_VER_MAJOR) + "." + std::to_string(CUBLAS_VER_MINOR) + "." + std::to_string(CUBLAS_VER_PATCH);
}

MatrixUnit& cublas_unit() {
  static CublasUnit* const unit = new CublasUnit;
  return *unit;
}

}  // namespace annulus::kernels::cuda
