/// Stands in for cuBLAS in a build without it.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/matrix_unit.hpp"

namespace annulus::kernels::cuda {

bool has_cublas() { return false; }
std::string cublas_version() { return "not built (the stack projects on the CPU)"; }
MatrixUnit& cublas_unit() { throw UsageError("this build has no cuBLAS; try one with -D ANNULUS_ENABLE_CUBLAS=ON"); }

}  // namespace annulus::kernels::cuda
