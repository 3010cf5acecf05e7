/// Every rank says which rank leads its group; all see the same list.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/exchange/groups.hpp"

#include <algorithm>
#include <map>

namespace annulus {

Groups find_groups(const Communicator& comm, int group_size) {
  const Communicator node = comm.node();
  const auto on_node = node.all_gather(static_cast<std::uint64_t>(comm.rank()));
  const auto size = group_size == 0 ? on_node.size() : static_cast<std::size_t>(group_size);
  const std::uint64_t leader = on_node[static_cast<std::size_t>(node.rank()) / size * size];
  const auto leaders = comm.all_gather(leader);

  std::map<std::uint64_t, std::vector<int>> groups;
  for (int rank = 0; rank < comm.size(); ++rank) groups[leaders[static_cast<std::size_t>(rank)]].push_back(rank);
  Groups found{.by_group = {}, .group_size = static_cast<int>(groups.begin()->second.size())};
  for (const auto& [first, members] : groups) {
    if (static_cast<int>(members.size()) != found.group_size) found.group_size = 0;
    found.by_group.insert(found.by_group.end(), members.begin(), members.end());
  }
  if (group_size > 0 && found.group_size != group_size) found.group_size = 0;
  return found;
}

}  // namespace annulus
