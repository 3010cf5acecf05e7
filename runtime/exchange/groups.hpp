/// Groups of ranks that share memory, as the ring takes them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "runtime/comm/communicator.hpp"

namespace annulus {

/// All ranks of a communicator, group by group, groups by their lowest rank.
struct Groups {
  std::vector<int> by_group;
  int group_size = 1;  ///< 0: groups differ in size or from what is wanted, no ring of groups can be made
};

/// Collective. Groups of `group_size` consecutive ranks of a node; 0: of all ranks of a node.
Groups find_groups(const Communicator& comm, int group_size);

}  // namespace annulus
