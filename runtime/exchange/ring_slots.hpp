/// Where blocks and sums of gradients lie while a group of ranks works on them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>

#include "runtime/comm/communicator.hpp"
#include "runtime/comm/shared_window.hpp"
#include "runtime/device/carrier.hpp"

namespace annulus {

/// Two slots per member of a group, one where nothing leaves the group: in a window that all members read and write in
/// place, or, in groups of one, where their carrier has its memory.
class RingSlots {
 public:
  /// `group`, whose ranks all share memory if there are several, and the carrier outlive this.
  RingSlots(const Communicator& group, int count, Carrier& carrier) : group_(group), count_(count), carrier_(carrier) {}

  /// Collective over the group; returns after all its members have left their slots alone. Makes room for up to `bytes`
  /// of this member. Throws the same ResourceError on all ranks of the group.
  void reserve(std::uint64_t bytes);
  /// A member's slot, 64-byte aligned; `hop` and those two hops away have the same one.
  std::byte* at(int member, int hop) const;
  /// Orders what members wrote and read, between a message and the memory it speaks of. Local.
  void sync() const {
    if (window_) window_->sync();
  }
  /// Collective over the group: what any member wrote is there for all.
  void meet() const;

 private:
  const Communicator& group_;
  int count_;
  Carrier& carrier_;
  std::uint64_t slot_bytes_ = 0;
  std::unique_ptr<SharedWindow> window_;
  std::array<Room, 2> own_;
};

}  // namespace annulus
