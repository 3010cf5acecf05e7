/// Which GPU a rank works on, and whether there is room on it for all ranks that share it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "runtime/comm/communicator.hpp"

namespace annulus {

/// `device` is a number among those that the rank sees; ranks of a node share one where `identity` is the same.
struct DevicePlacement {
  int device = 0;
  std::uint64_t identity = 0;
  std::uint64_t free_bytes = 0;   ///< before any of the ranks took some
  std::uint64_t total_bytes = 0;
};

/// The ranks of a node take the devices they see in turn. A program that has chosen a device other than 0 keeps it.
int choose_device(int node_rank, int visible, int current);

/// Collective over `comm`. Makes this rank's device the current one of the calling thread. Throws UsageError on all ranks
/// if one sees no device.
DevicePlacement place_on_device(const Communicator& comm);

/// What one rank takes of a device.
struct DeviceNeed {
  std::uint64_t identity = 0;
  std::uint64_t bytes = 0;
};
/// Throws ResourceError, with the numbers, unless all of a node's ranks on the device of `mine` fit what is free there.
void check_room(const DevicePlacement& mine, std::span<const DeviceNeed> node);
/// Collective over `comm`: the same for every rank, which needs `bytes`; all throw together.
void check_device_room(const Communicator& comm, const DevicePlacement& mine, std::uint64_t bytes);

}  // namespace annulus
