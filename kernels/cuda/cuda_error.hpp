/// Turns return codes of the CUDA runtime into errors.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "kernels/base/error.hpp"

namespace annulus::kernels::cuda {

/// A call of the CUDA runtime failed; holds its code.
struct CudaError : Error {
  CudaError(int code, const char* text, const char* doing)
      : Error(ExitCode::resources, "the GPU failed to " + std::string(doing) + " (CUDA error " + std::to_string(code) +
                                       ": " + text + "); try another GPU, or --backend auto"),
        cuda_code(code) {}
  int cuda_code;
};

/// `code` is a cudaError_t: 0 passes, all else throws.
void check_cuda(int code, const char* doing);

}  // namespace annulus::kernels::cuda
