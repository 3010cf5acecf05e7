/// From device to device by an MPI that takes device pointers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/device/mover.hpp"

namespace annulus {

/// Only where mpi_cuda_aware() says yes. MPI knows of no line: the host waits for the device before a message is started.
/// Both outlive it.
std::unique_ptr<Mover> aware_mover(kernels::cuda::Device& device, const Communicator& comm);

}  // namespace annulus
