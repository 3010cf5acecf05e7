/// Whether device pointers may be given to MPI.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace annulus {

enum class CudaAware { no, yes, unknown };  ///< unknown: this MPI has no way to ask

/// Local. What MPI says of itself as it runs, not as it was built.
CudaAware mpi_cuda_aware();

}  // namespace annulus
