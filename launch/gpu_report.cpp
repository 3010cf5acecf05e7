/// GPUs of all ranks, by identity: ranks may see one under different numbers.
// SPDX-License-Identifier: Apache-2.0
#include "launch/gpu_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "kernels/cuda/devices.hpp"
#include "launch/memory.hpp"
#include "launch/table.hpp"
#include "runtime/comm/agreement.hpp"
#include "runtime/comm/cuda_aware.hpp"
#include "runtime/comm/placement.hpp"
#include "runtime/device/movers.hpp"
#include "runtime/device/nccl_mover.hpp"
#include "runtime/device/placement.hpp"

namespace annulus::launch {
namespace {

using namespace kernels::cuda;

/// Of this rank; the identity is 0 where it sees none.
DeviceFacts own_device(const Communicator& world) {
  const int node_rank = world.node().rank();
  DeviceFacts facts;
  together(world, [&] {
    const int visible = visible_devices();
    if (visible > 0) facts = device_facts(choose_device(node_rank, visible, current_device()));
  });
  return facts;
}

std::string memory_text(const DeviceFacts& facts) {
  return fmt::format("{} of {} free", bytes_text(static_cast<double>(facts.free_bytes)),
                     bytes_text(static_cast<double>(facts.total_bytes)));
}

std::vector<std::string> cells(const DeviceFacts& facts) {
  return {host_name(), facts.name, fmt::format("{}.{}", facts.capability / 10, facts.capability % 10), memory_text(facts)};
}

std::string ranks_with(const std::vector<std::uint64_t>& identities, std::uint64_t wanted) {
  std::vector<std::size_t> ranks;
  for (std::size_t rank = 0; rank < identities.size(); ++rank) {
    if (identities[rank] == wanted) ranks.push_back(rank);
  }
  return fmt::format("{}", fmt::join(ranks, ", "));
}

}  // namespace

std::string gpu_report(const Communicator& world) {
  const DeviceFacts mine = own_device(world);
  const std::vector<std::uint64_t> identities = world.all_gather(mine.identity);
  Table table({"GPU of node", "name", "capability", "memory", "ranks"});
  bool any = false;
  for (auto seen = identities.begin(); seen != identities.end(); ++seen) {
    if (*seen == 0 || std::find(identities.begin(), seen, *seen) != seen) continue;
    std::vector<std::string> row = cells(mine);
    for (std::string& cell : row) world.broadcast(cell, static_cast<int>(seen - identities.begin()));
    row.push_back(ranks_with(identities, *seen));
    table.add(row);
    any = true;
  }
  return any ? table.text() : fmt::format("no GPU is found ({})\n", cuda_versions());
}

std::string mover_text(const Communicator& world) {
  const DeviceFacts mine = own_device(world);
  std::array<std::uint64_t, 1> all_have_one{mine.identity == 0 ? 0U : 1U};
  world.min(all_have_one);
  if (all_have_one[0] == 0) return "not between GPUs (a rank has none)";
  return std::string(name(choose_mover(world, mine.identity)));
}

std::string nccl_text() {
  const std::string absence = nccl_absence();
  return absence.empty() ? nccl_version() : absence;
}

std::string cuda_aware_text() {
  switch (mpi_cuda_aware()) {
    case CudaAware::yes: return "yes";
    case CudaAware::no: return "no";
    default: return "unknown (this MPI has no way to ask)";
  }
}

}  // namespace annulus::launch
