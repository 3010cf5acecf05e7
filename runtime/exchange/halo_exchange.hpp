/// Rows of a few neighbours, fetched from their owners or brought home: what local layers send instead of a ring.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

#include "kernels/base/buffer.hpp"
#include "kernels/base/view.hpp"
#include "runtime/comm/transfer.hpp"
#include "runtime/exchange/traffic.hpp"
#include "runtime/layout/halo_plan.hpp"

namespace annulus {

/// Moves rows of several tensors, by one plan or by several at once, in one message per pair of ranks. Nothing is sent
/// to ranks that need nothing. start() and finish() alternate on every rank that has a part in a plan; neither is
/// collective, neither waits for ranks without one.
class HaloExchange {
 public:
  enum class Way {
    fetch,  ///< owners' rows -> halo rows
    home    ///< halo rows, say of gradients -> to the owners' rows, by ascending rank of who sends
  };
  /// What an arriving row of one head does to the one in place.
  using Meet = void (*)(std::byte* row, const std::byte* arrived, const TensorView& view);
  /// What leaves by one plan: views whose rows are `rows`, which hold plan.own to fetch, plan.halo to bring home. No
  /// views, on all ranks alike: by this plan nothing travels this time.
  struct Leaving {
    std::span<const ConstTensorView> from;
    const RowSet& rows;
  };
  /// Where it lands: as many views of the same shapes and dtype, whose rows hold plan.halo to fetch, plan.own to bring
  /// home.
  struct Landing {
    std::span<const TensorView> to;
    const RowSet& rows;
    Meet meet = nullptr;  ///< none: fetched rows are copied, those that come home (f32 or f64) are added
  };

  /// `comm` and `plan` outlive this, as do all plans below.
  HaloExchange(const Communicator& comm, const HaloPlan& plan) : HaloExchange(comm, std::vector{&plan}) {}
  /// `plans`: none is null.
  HaloExchange(const Communicator& comm, std::vector<const HaloPlan*> plans) : comm_(comm), plans_(std::move(plans)) {}

  /// Local. Makes room for rows of up to `row_bytes` (all tensors and batches together). Throws ResourceError.
  void reserve(std::uint64_t row_bytes);
  /// Likewise, plan by plan and for one way.
  void reserve(Way way, std::span<const std::uint64_t> row_bytes);
  /// Other plans, as many, from the next reserve() or start() on: rounds of one exchange take turns in one buffer.
  void follow(std::vector<const HaloPlan*> plans) { plans_ = std::move(plans); }
  /// Local. The rows are staged: free to change once this returns. Throws ResourceError where nothing was reserved.
  void start(Way way, std::span<const ConstTensorView> from, const RowSet& rows) { start(way, {{from, rows}}); }
  /// Plan by plan.
  void start(Way way, std::initializer_list<Leaving> leaving);
  /// Waits.
  void finish(std::span<const TensorView> to, const RowSet& rows) { finish({{to, rows}}); }
  /// Plan by plan, as they were started.
  void finish(std::initializer_list<Landing> landing);
  /// Moves pending messages on. Local.
  void poll();

  /// Since it was last taken; exposed: waiting in finish().
  const Traffic& traffic() const { return traffic_; }
  Traffic take_traffic() { return std::exchange(traffic_, {}); }
  /// At most so many bytes are staged at a time for rows of `row_bytes` (all tensors and batches together). Checked.
  static std::uint64_t staging_bytes(const HaloPlan& plan, std::uint64_t row_bytes);

  /// Receives are posted so many at a time, by ascending rank: who collects from all ranks needs no room for all.
  static constexpr std::size_t most_receives = 16;

 private:
  using Parts = std::vector<HaloPart> HaloPlan::*;
  /// Everything between this rank and one other, plan by plan: per tensor [batch][rows of the part][heads][head_dim].
  struct Message {
    int peer;
    std::vector<const RowSet*> parts;  ///< by plan; null where a plan has none
    std::uint64_t bytes;
  };
  /// Where messages lie in a buffer.
  struct Room {
    std::vector<std::uint64_t> begin;  ///< by message
    std::uint64_t bytes = 0;
  };
  static Parts outgoing(Way way) { return way == Way::fetch ? &HaloPlan::leaving : &HaloPlan::arriving; }
  static Parts incoming(Way way) { return way == Way::fetch ? &HaloPlan::arriving : &HaloPlan::leaving; }
  static bool same_rows(const Message& a, const Message& b);
  static Room landing_room(const std::vector<Message>& messages);
  static Room staging_room(const std::vector<Message>& messages);
  std::vector<Message> messages(Parts parts, std::span<const std::uint64_t> row_bytes) const;
  int tag() const;
  void post_receive(std::size_t index);
  void send(const std::vector<Message>& messages, std::span<const Leaving> leaving);
  void stage(const Message& message, std::span<const Leaving> leaving, std::byte* staged) const;
  void land(const Message& message, std::span<const Landing> landing, const std::byte* staged) const;

  const Communicator& comm_;
  std::vector<const HaloPlan*> plans_;
  Way way_ = Way::fetch;
  std::vector<Message> arriving_;  ///< those of the running exchange
  Room landing_room_;
  Buffer<std::byte> out_;
  Buffer<std::byte> in_;
  std::vector<Transfer> sends_;  // declared after the buffers they use: they wait before those are freed
  std::vector<Transfer> receives_;  ///< by message
  Traffic traffic_;
};

}  // namespace annulus
