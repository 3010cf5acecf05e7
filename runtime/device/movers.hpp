/// Which mover serves a communicator whose ranks compute on devices.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "runtime/device/mover.hpp"

namespace annulus {

enum class MoverKind {
  cuda_aware,  ///< MPI takes device pointers, and says so as it runs
  nccl,        ///< this build has it, and no two ranks share a device
  staged       ///< through pinned memory of the host
};

/// For reports: "CUDA-aware MPI", "NCCL", "staged through pinned memory".
std::string_view name(MoverKind kind);

/// Collective. The first of them that all ranks can have. `device_identity`: of this rank's (DeviceFacts).
MoverKind choose_mover(const Communicator& comm, std::uint64_t device_identity);

/// Collective. Both outlive it.
std::unique_ptr<Mover> make_mover(MoverKind kind, kernels::cuda::Device& device, const Communicator& comm);

}  // namespace annulus
