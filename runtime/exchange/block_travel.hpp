/// Packed blocks on their way from group to group.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/device/carrier.hpp"
#include "runtime/exchange/pass_sizes.hpp"
#include "runtime/exchange/ring_slots.hpp"
#include "runtime/exchange/traffic.hpp"

namespace annulus {

/// Each member sends the block in its slot to its counterpart in the group before while the next one lands in its other
/// slot. Of each block only the rows travel that somebody further on sees.
class BlockTravel {
 public:
  /// All outlive this.
  BlockTravel(Carrier& carrier, const Communicator& group, const RingSchedule& ring, Traffic& traffic)
      : carrier_(carrier), ring_(ring), traffic_(traffic), slots_(group, ring.groups() > 1 ? 2 : 1, carrier) {}

  /// Collective over the group. `pass` outlives the pass.
  void begin(const PassSizes& pass);
  /// The host's view of the own block.
  std::byte* own() const { return carrier_.view(own_slot(), own_bytes()); }
  void packed() const {
    carrier_.push(own_slot(), own_bytes());
    slots_.sync();
  }
  void sync() const { slots_.sync(); }
  void start(int step);
  const std::byte* at(int step) const { return slots_.at(ring_.holder_at(step), ring_.hop_of(step)); }
  void finish(int step);
  void poll();

 private:
  std::byte* own_slot() const { return slots_.at(ring_.member(), 0); }
  std::uint64_t own_bytes() const { return pass_->block.bytes(pass_->rows); }

  Carrier& carrier_;
  const RingSchedule& ring_;
  Traffic& traffic_;
  const PassSizes* pass_ = nullptr;
  RingSlots slots_;
  Journey in_;  // declared after the slots they use: they wait before those are freed
  Journey out_;
};

}  // namespace annulus
