/// The slowest rank decides.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/device/movers.hpp"

#include <algorithm>
#include <array>

#include "runtime/comm/cuda_aware.hpp"
#include "runtime/device/aware_mover.hpp"
#include "runtime/device/nccl_mover.hpp"
#include "runtime/device/staged_mover.hpp"

namespace annulus {
namespace {

/// Collective.
bool on_all(const Communicator& comm, bool holds) {
  std::array<std::uint64_t, 1> all{holds ? 1U : 0U};
  comm.min(all);
  return all[0] == 1;
}

bool any_shared(std::vector<std::uint64_t> identities) {
  std::ranges::sort(identities);
  return std::ranges::adjacent_find(identities) != identities.end();
}

}  // namespace

std::string_view name(MoverKind kind) {
  switch (kind) {
    case MoverKind::cuda_aware: return "CUDA-aware MPI";
    case MoverKind::nccl: return "NCCL";
    default: return "staged through pinned memory";
  }
}

MoverKind choose_mover(const Communicator& comm, std::uint64_t device_identity) {
  if (comm.size() == 1) return MoverKind::staged;  // nothing moves
  if (on_all(comm, mpi_cuda_aware() == CudaAware::yes)) return MoverKind::cuda_aware;
  const bool shared = any_shared(comm.all_gather(device_identity));
  return on_all(comm, nccl_absence().empty() && !shared) ? MoverKind::nccl : MoverKind::staged;
}

std::unique_ptr<Mover> make_mover(MoverKind kind, kernels::cuda::Device& device, const Communicator& comm) {
  switch (kind) {
    case MoverKind::cuda_aware: return aware_mover(device, comm);
    case MoverKind::nccl: return nccl_mover(device, comm);
    default: return staged_mover(device, comm);
  }
}

}  // namespace annulus
