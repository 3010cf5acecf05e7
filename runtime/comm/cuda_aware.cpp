/// MPIX_Query_cuda_support, where MPI has it.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/cuda_aware.hpp"

#include <mpi.h>

#if __has_include(<mpi-ext.h>)
#include <mpi-ext.h>
#endif

namespace annulus {

CudaAware mpi_cuda_aware() {
#ifdef MPIX_CUDA_AWARE_SUPPORT
  return MPIX_Query_cuda_support() == 1 ? CudaAware::yes : CudaAware::no;
#else
  return CudaAware::unknown;
#endif
}

}  // namespace annulus
