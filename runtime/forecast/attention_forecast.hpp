/// What one attention call over sharded tensors will take on a given machine: time, traffic, waiting. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "runtime/engine/ring_attention.hpp"
#include "runtime/forecast/machine.hpp"

namespace annulus::forecast {

/// Where the ranks of a call run. Nodes are filled one after the other.
struct Placement {
  int ranks = 1;
  int ranks_per_node = 1;
  int threads = 1;  ///< cores of a rank; 1 for a GPU

  int nodes() const { return (ranks + ranks_per_node - 1) / ranks_per_node; }
  int ranks_of_node() const { return ranks < ranks_per_node ? ranks : ranks_per_node; }
  bool even() const { return ranks % ranks_of_node() == 0; }
  /// How much longer work takes where threads share cores; 1 if each has its own.
  double crowding(int cores_of_node) const {
    const double crowd = static_cast<double>(ranks_of_node()) * threads / cores_of_node;
    return crowd > 1 ? crowd : 1;
  }
};

/// What --exchange comes to with that placement, if shared memory has room. Throws UsageError for kinds that it does not allow.
ExchangeKind resolve_exchange(ExchangeKind wanted, const Placement& placement);

/// Whether the machine knows the links that these ranks use: all that a forecast needs but a rate of the kernels.
bool knows_links(const Machine& machine, const Placement& placement);

struct CallForecast {
  double flops = 0;             ///< of all ranks, visible pairs only
  double seconds = 0;           ///< of the slowest rank
  double compute_seconds = 0;   ///< of the rank that computes most
  double mean_compute_seconds = 0;
  double exposed_seconds = 0;   ///< of the rank that waits most
  double bytes_sent = 0;        ///< by all ranks
  double most_bytes_per_link = 0;  ///< one way between two nodes, or within one: what the busiest rank sends
};

/// `exchange`: resolved. Blocks are of `table`'s shape. Throws InputError where the machine has no rate for it.
CallForecast forecast_attention(const AttentionSpec& spec, LayoutSpec layout, const Placement& placement,
                                ExchangeKind exchange, kernels::Direction direction, const kernels::KernelTable& table,
                                const Machine& machine);

/// Queries that compute alone over keys they hold (a resident halo): no traffic. `computed` rows, see `spec`.
CallForecast forecast_local(const AttentionSpec& spec, const RowSet& computed, const Placement& placement,
                            kernels::Direction direction, const Machine& machine);

/// Rows per rank from which a hop hides behind the step that computes meanwhile, for a mask without rules (causal, zigzag:
/// twice as many): N = s F / (2 B g) forward, (s + sg) F / (5 B g) backward (F flop/s of a rank, B bytes/s, g query heads per
/// kv head, s and sg bytes of an element of K, V and of their gradients).
double hiding_rows(const AttentionSpec& spec, kernels::Direction direction, double flops_per_second, const LinkSpeed& link);

/// The same of a ring over nodes whose ranks read each other's blocks in place: a hop has as many steps as a node has ranks
/// to hide behind, and as many ranks as that share the node's ports. Throws InputError if the machine has no network.
double hiding_rows_of_nodes(const AttentionSpec& spec, kernels::Direction direction, double flops_per_second, const Machine& machine,
                            int ranks_of_node);

}  // namespace annulus::forecast
