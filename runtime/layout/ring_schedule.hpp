/// Whose keys and values sit on which rank at which step. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace annulus {

/// Ranks form groups of one size. A block visits group after group, in each hop from the member that holds it to its
/// counterpart in the group before; all members of a group attend to it where it lies, each in its own order. See
/// README.md in this folder for tables. Groups of one: the flat ring, where every step is a hop.
class RingSchedule {
 public:
  /// Groups of consecutive ranks; `its_group_size` divides their number.
  RingSchedule(int its_rank, int ranks, int its_group_size = 1)
      : rank(its_rank), size(ranks), group_size(its_group_size), place_(its_rank) {}
  /// `by_group`: all ranks, group by group; `group_size` divides their number.
  RingSchedule(int its_rank, std::vector<int> by_group, int its_group_size)
      : rank(its_rank), size(static_cast<int>(by_group.size())), group_size(its_group_size), by_group_(std::move(by_group)) {
    while (by_group_[static_cast<std::size_t>(place_)] != rank) ++place_;
  }

  int rank;            ///< this rank, [0, size)
  int size;            ///< ranks in the ring
  int group_size = 1;  ///< steps per hop

  int groups() const { return size / group_size; }
  int group() const { return place_ / group_size; }
  int member() const { return place_ % group_size; }
  int rank_at(int group, int member) const {
    const int place = group * group_size + member;
    return by_group_.empty() ? place : by_group_[static_cast<std::size_t>(place)];
  }
  /// The counterparts that blocks come from and go to.
  int next() const { return rank_at((group() + 1) % groups(), member()); }
  int prev() const { return rank_at((group() + groups() - 1) % groups(), member()); }

  int hop_of(int step) const { return step / group_size; }
  bool begins_hop(int step) const { return step % group_size == 0; }
  bool ends_hop(int step) const { return step % group_size == group_size - 1; }
  bool is_last_hop(int hop) const { return hop == groups() - 1; }
  /// The member of this rank's group that holds the block this rank attends to at `step`.
  int holder_at(int step) const { return (member() + step) % group_size; }
  /// Birth rank of that block, step in [0, size).
  int owner_at(int step) const { return rank_at((group() + hop_of(step)) % groups(), holder_at(step)); }
  /// The rank that holds this rank's own block during `hop`.
  int host_at(int hop) const { return rank_at((group() + groups() - hop) % groups(), member()); }

 private:
  int place_ = 0;              ///< in by_group_
  std::vector<int> by_group_;  ///< empty: in order
};

}  // namespace annulus
