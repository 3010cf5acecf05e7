/// cuBLAS behind MatrixUnit, on the stream of the kernels. It is loaded when it is first wanted: linked, it would cost every
/// start of the program 0.13 s and 230 MB, on a machine without a GPU as well.
// SPDX-License-Identifier: Apache-2.0
#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include "kernels/cuda/cuda_device.hpp"
#include "kernels/cuda/matrix_unit.hpp"

namespace annulus::kernels::cuda {
namespace {

/// The functions that we call.
struct Cublas {
  decltype(&cublasCreate) create;
  decltype(&cublasSetStream) set_stream;
  decltype(&cublasSetMathMode) set_math_mode;
  decltype(&cublasSgemm_64) sgemm;
  decltype(&cublasGetStatusString) text;
};

/// Where the loader finds it, or where the build did.
void* load_library() {
  void* library = dlopen(ANNULUS_CUBLAS_SONAME, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) library = dlopen(ANNULUS_CUBLAS_LIBRARY, RTLD_NOW | RTLD_LOCAL);
  if (library != nullptr) return library;
  throw UsageError("cuBLAS cannot be loaded (" + std::string(dlerror()) +
                   "); try LD_LIBRARY_PATH, or a build with -D ANNULUS_ENABLE_CUBLAS=OFF");
}

template <class Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  if (function == nullptr) throw UsageError("cuBLAS has no " + std::string(name) + " (too old?); try that of CUDA 12 or later");
}

Cublas load() {
  void* const library = load_library();  // never unloaded
  Cublas blas{};
  find(library, "cublasCreate_v2", blas.create);
  find(library, "cublasSetStream_v2", blas.set_stream);
  find(library, "cublasSetMathMode", blas.set_math_mode);
  find(library, "cublasSgemm_v2_64", blas.sgemm);
  find(library, "cublasGetStatusString", blas.text);
  return blas;
}

const Cublas& cublas() {
  static const Cublas loaded = load();
  return loaded;
}

std::string memory_text() {
  std::size_t free = 0;
  std::size_t total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) return "its memory cannot be told";
  return std::to_string(free) + " of " + std::to_string(total) + " bytes of the GPU are free";
}

void check_cublas(cublasStatus_t status, const std::string& doing) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw ResourceError("cuBLAS failed to " + doing + " (status " + std::to_string(static_cast<int>(status)) + ": " +
                      cublas().text(status) + "; " + memory_text() + "); try more GPUs, or --backend auto");
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
    check_cublas(cublas().create(&handle_), "start");
    check_cublas(cublas().set_stream(handle_, line_stream(Line::kernels)), "take a stream");
    check_cublas(cublas().set_math_mode(handle_, CUBLAS_DEFAULT_MATH), "choose f32");  // tf32 has a mode of its own
  }

  Device& device() override { return cuda_device(); }

  void multiply(const MatrixProduct& product) override {
    const float one = 1;
    const float zero = 0;
    check_cublas(cublas().sgemm(handle_, operation(product.transpose_a), operation(product.transpose_b), product.m, product.n,
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
