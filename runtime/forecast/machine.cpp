/// Looks up rates.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/forecast/machine.hpp"

#include <cstdlib>

#include "kernels/base/error.hpp"

namespace annulus::forecast {

const LinkSpeed& link_speed(const Machine& machine, bool between_nodes) {
  const std::optional<LinkSpeed>& link = between_nodes ? machine.network : machine.node;
  if (link) return *link;
  throw InputError("machine " + machine.name + " has no link " + (between_nodes ? "between nodes" : "between ranks of a node") +
                   " (without its speed no ring can be forecast); calibrate it on " +
                   (between_nodes ? "two nodes or more, or write its [network]" : "two ranks or more"));
}

const KernelSpeed& kernel_speed(const Machine& machine, DType dtype, std::int64_t head_dim,
                                kernels::Direction direction) {
  const KernelSpeed* nearest = nullptr;
  for (const KernelSpeed& speed : machine.kernels) {
    if (speed.dtype != dtype || speed.direction != direction) continue;
    if (nearest == nullptr || std::abs(speed.head_dim - head_dim) < std::abs(nearest->head_dim - head_dim)) nearest = &speed;
  }
  if (nearest != nullptr) return *nearest;
  const bool backward = direction == kernels::Direction::backward;
  throw InputError("machine " + machine.name + " has no rate of " + std::string(name(dtype)) + " kernels, " +
                   (backward ? "backward" : "forward") + " (nothing to forecast from); try another --dtype, or calibrate it");
}

}  // namespace annulus::forecast
