/// `annulus info`: what this build and these machines have.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <annulus/version.hpp>

#include <algorithm>
#include <thread>

#include "kernels/cuda/cudnn_attention.hpp"
#include "kernels/cuda/devices.hpp"
#include "kernels/cuda/matrix_unit.hpp"
#include "kernels/kernel_table.hpp"
#include "launch/blas_report.hpp"
#include "launch/command.hpp"
#include "launch/gpu_report.hpp"
#include "launch/memory.hpp"
#include "launch/options.hpp"
#include "launch/table.hpp"
#include "runtime/checkpoint/tensor_file.hpp"
#include "runtime/comm/placement.hpp"
#include "runtime/comm/session.hpp"
#include "runtime/exchange/groups.hpp"

namespace annulus::launch {
namespace {

std::unique_ptr<Options> declare() {
  return std::make_unique<Options>(
      "info",
      "Backends, instruction sets, GPUs, MPI and HDF5 as found; under mpirun also ranks and cores of each node.");
}

std::string backend_table() {
  Table table({"backend", "runs here"});
  for (const kernels::KernelTable& row : kernels::kernel_tables()) {
    table.add({std::string(row.name), row.unavailable.empty() ? "yes" : fmt::format("no: {}", row.unavailable)});
  }
  return table.text();
}

/// What the first rank of a node tells of it.
struct NodeFacts {
  std::string host;
  std::uint64_t ranks = 0;
  std::uint64_t cores = 0;
  std::uint64_t threads = 0;
  std::uint64_t memory = 0;
};

/// Collective. One entry per node, by its lowest rank; complete on rank 0.
std::vector<NodeFacts> all_nodes(const Communicator& world) {
  const Communicator node = world.node();
  const bool first = node.rank() == 0;
  std::string host = first ? host_name() : "";
  const auto threads = world.all_gather(static_cast<std::uint64_t>(fair_threads(node)));
  const auto ranks = world.all_gather(first ? static_cast<std::uint64_t>(node.size()) : 0);
  const auto cores = world.all_gather(std::max(1U, std::thread::hardware_concurrency()));
  const auto memory = world.all_gather(available_memory());
  std::vector<NodeFacts> nodes;
  for (int rank = 0; rank < world.size(); ++rank) {
    const auto at = static_cast<std::size_t>(rank);
    if (ranks[at] == 0) continue;
    std::string name = host;
    world.broadcast(name, rank);
    nodes.push_back({name, ranks[at], cores[at], threads[at], memory[at]});
  }
  return nodes;
}

std::string node_table(const std::vector<NodeFacts>& nodes) {
  Table table({"node", "ranks", "cores", "threads per rank", "memory available"});
  for (const NodeFacts& node : nodes) {
    table.add({node.host, std::to_string(node.ranks), std::to_string(node.cores), std::to_string(node.threads),
               bytes_text(static_cast<double>(node.memory))});
  }
  return table.text();
}

/// Collective. How a ring of all ranks would go, room in /dev/shm granted.
std::string ring_text(const Communicator& world) {
  const Groups groups = find_groups(world, 0);
  if (groups.group_size == 0) return "messages from rank to rank (nodes differ in ranks)";
  if (world.size() == 1) return "shared: one rank on one node";
  if (groups.group_size == world.size()) return fmt::format("shared: {} ranks on one node", world.size());
  if (groups.group_size == 1) return fmt::format("messages between {} nodes of one rank", world.size());
  return fmt::format("nodes: {} of {} ranks, messages between counterparts", world.size() / groups.group_size,
                     groups.group_size);
}

/// MPI libraries answer with several lines or a long list of facts; the first says which one it is.
std::string first_words(const std::string& text) { return text.substr(0, text.find_first_of(",\n")); }

ExitCode info(const Communicator& world) {
  const std::vector<NodeFacts> nodes = all_nodes(world);
  const std::string gpus = gpu_report(world);
  const std::string ring = ring_text(world);
  const std::string mover = mover_text(world);
  if (world.rank() != 0) return ExitCode::done;
  fmt::print("{}\n{}\n{}\n{}",
             facts_text({{"annulus", ANNULUS_VERSION}, {"MPI", first_words(mpi_version())}, {"HDF5", hdf5_version()}, {"BLAS", blas_text()},
                         {"CUDA", kernels::cuda::cuda_versions()}, {"cuBLAS", kernels::cuda::cublas_version()},
                         {"cuDNN", kernels::cuda::cudnn_version()}, {"CUDA-aware MPI", cuda_aware_text()}, {"NCCL", nccl_text()},
                         {"ring", ring}, {"blocks on GPUs move", mover}}),
             backend_table(), node_table(nodes), gpus);
  return ExitCode::done;
}

std::string help() { return declare()->help(); }

Job parse(std::span<const std::string> arguments) {
  declare()->parse(arguments);
  return info;
}

}  // namespace

Command info_command() { return {"info", "backends, MPI, HDF5 and nodes as found", help, parse}; }

}  // namespace annulus::launch
