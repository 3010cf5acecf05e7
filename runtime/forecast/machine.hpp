/// A machine as forecasts know it: how fast its kernels, links and disks are.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/contract/attention.hpp"

namespace annulus::forecast {

/// What one kernel does on one core (one GPU) while all cores of the node work.
struct KernelSpeed {
  DType dtype = DType::f32;
  std::int64_t head_dim = 64;
  kernels::Direction direction = kernels::Direction::forward;
  double flops_per_second = 0;  ///< of visible pairs, tiles without a mask
  double edge_keys = 0;         ///< keys that a query row computes for nothing where a mask ends within a block
  double row_seconds = 0;       ///< of one head, once a call: packing, set-up, finish
  double step_row_seconds = 0;  ///< of one head, once a block: masks, carries
};

/// Between two ranks.
struct LinkSpeed {
  double latency_seconds = 0;
  double bytes_per_second = 0;
  double busy_share = 0;  ///< of a transfer's time, what it takes from the core that computes meanwhile
};

struct Machine {
  std::string name;
  std::string source;             ///< how, where and when it was measured, or who says so
  std::string backend = "auto";   ///< of the kernels below
  int cores_per_node = 1;         ///< or GPUs
  std::uint64_t memory_per_node = 0;
  std::vector<KernelSpeed> kernels;
  double projection_flops_per_second = 0;  ///< of one core: norm, projections, rotation, residual; 0: not counted
  double weights_per_second = 0;           ///< seeded numbers that one core makes; 0: weights cost nothing
  std::optional<LinkSpeed> node;     ///< ranks of one node, by messages; none: not known
  std::optional<LinkSpeed> network;  ///< ranks of two nodes; none: not known
  double node_ports_bytes_per_second = 0;  ///< all ports of a node together, one way; 0: as one link
  double file_write_bytes_per_second = 0;  ///< of all ranks together; 0: not known
  double file_read_bytes_per_second = 0;
};

/// Between two ranks of one node, or of two. Throws InputError if the machine has no such link.
const LinkSpeed& link_speed(const Machine& machine, bool between_nodes);

/// The entry with that type and direction and the nearest head_dim. Throws InputError if there is none.
const KernelSpeed& kernel_speed(const Machine& machine, DType dtype, std::int64_t head_dim,
                                kernels::Direction direction);

}  // namespace annulus::forecast
