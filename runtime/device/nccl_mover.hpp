/// From device to device by NCCL, where this build has it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "runtime/device/mover.hpp"

namespace annulus {

/// Empty, or why there is none: "not built (...)".
std::string nccl_absence();
/// "2.28.3", as the library says while it runs; empty without one.
std::string nccl_version();

/// Collective; every rank has a device of its own. Both outlive it. Throws Error, code 5, where NCCL fails.
std::unique_ptr<Mover> nccl_mover(kernels::cuda::Device& device, const Communicator& comm);

}  // namespace annulus
