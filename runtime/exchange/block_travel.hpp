/// Packed blocks on their way from group to group.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/comm/transfer.hpp"
#include "runtime/exchange/pass_sizes.hpp"
#include "runtime/exchange/ring_slots.hpp"
#include "runtime/exchange/traffic.hpp"

namespace annulus {

/// Each member sends the block in its slot to its counterpart in the group before while the next one lands in its other
/// slot. Of each block only the rows travel that somebody further on sees.
class BlockTravel {
 public:
  /// All outlive this.
  BlockTravel(const Communicator& comm, const Communicator& group, const RingSchedule& ring, Traffic& traffic)
      : comm_(comm), ring_(ring), traffic_(traffic), slots_(group, ring.groups() > 1 ? 2 : 1) {}

  /// Collective over the group. `pass` outlives the pass.
  void begin(const PassSizes& pass);
  std::byte* own() const { return slots_.at(ring_.member(), 0); }
  void sync() const { slots_.sync(); }
  void start(int step);
  const std::byte* at(int step) const { return slots_.at(ring_.holder_at(step), ring_.hop_of(step)); }
  void finish(int step);
  void poll();

 private:
  const Communicator& comm_;
  const RingSchedule& ring_;
  Traffic& traffic_;
  const PassSizes* pass_ = nullptr;
  RingSlots slots_;
  Transfer in_;  // declared after the slots they use: they wait before those are freed
  Transfer out_;
};

}  // namespace annulus
