/// Sums of dK and dV on their way behind the blocks, and home.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "runtime/comm/transfer.hpp"
#include "runtime/device/carrier.hpp"
#include "runtime/exchange/pass_sizes.hpp"
#include "runtime/exchange/ring_slots.hpp"
#include "runtime/exchange/traffic.hpp"

namespace annulus {

/// The members of a group add to a sum in place, one after the other in the order in which they meet its block: one-byte
/// tokens run round the group behind the adders. Then the sum follows its block to the next group. Rows that nobody further
/// on sees leave for their owner at once, the others come home after the last group: part by part, so that all but the last
/// part travel while the last step computes.
class GradientTravel {
 public:
  /// All outlive this.
  GradientTravel(Carrier& carrier, const Communicator& group, const RingSchedule& ring, Traffic& traffic)
      : carrier_(carrier), group_(group), ring_(ring), traffic_(traffic), slots_(group, ring.groups() > 1 ? 2 : 1, carrier) {}

  /// Collective over the group. `pass` outlives the pass.
  void begin(const PassSizes& pass);
  void open();
  std::byte* share(int step) const { return step == 0 ? sum_at(0) : share_.room.get(); }  // an owner's own share starts the sum
  std::vector<BlockPart> parts(int step) const;
  void add(int step, const BlockPart& part, bool empty);
  const std::byte* home();
  void poll();

 private:
  struct GrowingRoom {
    Room room;
    std::uint64_t bytes = 0;
  };
  void grow(GrowingRoom& room, std::uint64_t bytes);
  std::byte* sum_at(int step) const { return slots_.at(ring_.holder_at(step), ring_.hop_of(step)); }
  std::vector<kernels::ByteRun> left_behind(int hop) const;
  bool sum_has_come(int step);
  bool may_close();
  void await_sum(int step);
  void pass_token();
  Transfer& next_token();
  bool token_has_come();
  void await_token();
  void add_rows(int step, const BlockPart& part, bool empty);
  void close(int hop, const BlockPart& part);
  void leave_rows(int hop, const std::byte* sum);
  void await_left_rows(int hop);
  void send_on(int hop, const std::byte* sum);
  void send_home(int hop, const BlockPart& part, const std::byte* sum);

  Carrier& carrier_;
  const Communicator& group_;
  const RingSchedule& ring_;
  Traffic& traffic_;
  const PassSizes* pass_ = nullptr;
  RingSlots slots_;
  GrowingRoom share_;
  GrowingRoom left_;           ///< own rows that came home before the others, as they lie in an array of them alone
  std::deque<BlockPart> waiting_;  ///< of the step under way: written to the share, not yet added
  std::deque<BlockPart> closing_;  ///< added, and not yet sent from this rank's slot
  std::byte token_{};
  std::byte arrived_token_{};
  std::optional<Transfer> token_in_;  ///< the next one, once looked for
  Transfer token_out_;               // journeys are declared after the buffers they use: they wait before those are freed
  Journey in_;
  Journey out_;
  Journey left_out_;
  std::vector<Journey> left_in_;
  std::vector<Journey> home_in_;  ///< by part, as the next
  std::vector<Journey> home_out_;
};

}  // namespace annulus
