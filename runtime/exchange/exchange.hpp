/// How packed blocks and their gradients move between the ranks of a ring during one call.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "runtime/comm/communicator.hpp"
#include "runtime/device/carrier.hpp"
#include "runtime/exchange/block_travel.hpp"
#include "runtime/exchange/exchange_kind.hpp"
#include "runtime/exchange/gradient_travel.hpp"
#include "runtime/exchange/pass_sizes.hpp"
#include "runtime/exchange/traffic.hpp"
#include "runtime/layout/ring_schedule.hpp"

namespace annulus {

/// One pass: begin -> pack into own_block() -> open -> per step {start, attend to block(step), finish} and, in backward,
/// {per part: write it to share(step), add_share} -> home(). Bits depend on the order of the ring alone: gradients of one owner are added
/// up in the order in which ranks meet its block, whatever the timing; the flat ring and one group have the same order.
class Exchange {
 public:
  /// `comm` outlives this; `group`: this rank's group of the ring.
  Exchange(const Communicator& comm, Communicator group, RingSchedule ring, Carriers carriers)
      : comm_(comm), group_(std::move(group)), ring_(std::move(ring)), carriers_(std::move(carriers)) {}
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  const RingSchedule& ring() const { return ring_; }
  /// Where blocks, shares and sums lie.
  kernels::Memory memory() const { return carriers_.blocks->memory(); }

  /// Collective. Makes room for a pass (throws the same ResourceError on all ranks) once the last one is read.
  void begin(PassSizes sizes);
  /// Where this rank packs its own block, between begin and packed: host memory, 64-byte aligned.
  std::byte* own_block() { return blocks_.own(); }
  /// The own block is written: others may read it once they know. Local.
  void packed() { blocks_.packed(); }
  /// Call on every rank after all ranks have packed and agreed. Local.
  void open();

  /// Where a hop begins, the block this rank holds sets out for the group before, the next one for here. Local.
  void start(int step) { blocks_.start(step); }
  /// Rows of owner_at(step) that have come along: its first ones.
  std::int64_t rows(int step) const { return sizes_.travel.at_step[static_cast<std::size_t>(step)]; }
  /// The packed block of these rows, valid until finish(step).
  const std::byte* block(int step) const { return blocks_.at(step); }
  /// Where a hop ends, waits until the next blocks are here.
  void finish(int step) { blocks_.finish(step); }

  /// Where this rank writes its share of the gradients of owner_at(step), of as many rows.
  std::byte* share(int step) const { return gradients_.share(step); }
  /// The parts in which to write and add the share of a step: what is sent home behind the last step leaves part by part.
  std::vector<BlockPart> parts(int step) const { return gradients_.parts(step); }
  /// Adds a part of the share to the owner's sum. `empty`: this rank saw nothing of the block, share is not read.
  void add_share(int step, const BlockPart& part, bool empty) { gradients_.add(step, part, empty); }
  /// The summed gradients of this rank's own block, after the last step, in host memory. Waits for the last rank that adds to them.
  const std::byte* home() { return gradients_.home(); }

  /// Moves pending messages on; called from inside the kernels. Local.
  void poll();

  const Traffic& traffic() const { return traffic_; }

 private:
  const Communicator& comm_;
  Communicator group_;
  RingSchedule ring_;
  Traffic traffic_;
  PassSizes sizes_;
  Carriers carriers_;
  BlockTravel blocks_{*carriers_.blocks, group_, ring_, traffic_};
  GradientTravel gradients_{*carriers_.sums, group_, ring_, traffic_};
};

/// Collective. `device` makes, collectively, the carriers of the device that this rank computes on; empty without one.
/// `wanted` automatic: device where there is one, shared if all ranks share memory and it has room for `slot_bytes` of each,
/// nodes if as many do on each of several nodes and it has room for twice that, else messages. `group_size` (0: all ranks of
/// a node) is for nodes alone. Throws the same UsageError on all ranks for shared across nodes, nodes of several sizes, and
/// device without one. Whether shared and nodes, if they are asked for, have room shows when a pass begins. device is a flat
/// ring, whatever the nodes.
std::unique_ptr<Exchange> make_exchange(ExchangeKind wanted, const Communicator& comm, std::uint64_t slot_bytes,
                                        ExchangeKind* resolved, int group_size = 0,
                                        const std::function<Carriers()>& device = {});

}  // namespace annulus
