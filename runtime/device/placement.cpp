/// Ranks of a node, taken modulo its devices.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/device/placement.hpp"

#include <optional>
#include <string>
#include <vector>

#include "kernels/base/error.hpp"
#include "kernels/cuda/devices.hpp"
#include "runtime/comm/agreement.hpp"
#include "runtime/comm/session.hpp"

namespace annulus {

using namespace kernels::cuda;

int choose_device(int node_rank, int visible, int current) { return current != 0 ? current : node_rank % visible; }

DevicePlacement place_on_device(const Communicator& comm) {
  static std::optional<int> chosen;  // streams and memory stay where they were made
  const int node_rank = launched_node_rank().value_or(comm.node().rank());  // of the job: rings of part of it share its GPUs, too
  DevicePlacement mine;
  together(comm, [&] {
    const int visible = visible_devices();
    if (visible == 0) {
      throw UsageError("no GPU is found (" + cuda_versions() + "); try --backend auto");
    }
    if (!chosen) chosen = choose_device(node_rank, visible, current_device());
    mine.device = *chosen;
    use_device(mine.device);
    const DeviceFacts facts = device_facts(mine.device);
    mine.identity = facts.identity;
    mine.free_bytes = facts.free_bytes;
    mine.total_bytes = facts.total_bytes;
  });
  return mine;
}

void check_room(const DevicePlacement& mine, std::span<const DeviceNeed> node) {
  std::uint64_t bytes = 0;
  int ranks = 0;
  for (const DeviceNeed& need : node) {
    if (need.identity != mine.identity) continue;
    bytes = need.bytes > UINT64_MAX - bytes ? UINT64_MAX : bytes + need.bytes;
    ++ranks;
  }
  if (bytes <= mine.free_bytes) return;
  throw ResourceError("GPU " + std::to_string(mine.device) + " has " + std::to_string(mine.free_bytes) + " of " +
                      std::to_string(mine.total_bytes) + " bytes free, but the " + std::to_string(ranks) +
                      " ranks on it need " + std::to_string(bytes) + "; try more GPUs, or --backend auto");
}

void check_device_room(const Communicator& comm, const DevicePlacement& mine, std::uint64_t bytes) {
  const Communicator node = comm.node();
  const auto identities = node.all_gather(mine.identity);
  const auto needs = node.all_gather(bytes);
  std::vector<DeviceNeed> all;
  for (std::size_t rank = 0; rank < needs.size(); ++rank) all.push_back({identities[rank], needs[rank]});
  together(comm, [&] { check_room(mine, all); });
}

}  // namespace annulus
