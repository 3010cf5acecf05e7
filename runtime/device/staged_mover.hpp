/// From device to device through pinned memory and MPI messages, in chunks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/device/mover.hpp"

namespace annulus {

/// Of each journey `depth` chunks at most are under way: copied from the device while those before them are sent, received
/// while those before them are copied to the device.
struct Staging {
  std::int64_t chunk_bytes = std::int64_t{2} << 20;
  std::size_t depth = 4;
};

/// Both outlive it.
std::unique_ptr<Mover> staged_mover(kernels::cuda::Device& device, const Communicator& comm, Staging staging = {});

}  // namespace annulus
