/// Rows of a few neighbours, fetched from their owners or summed up at home: what local layers send instead of a ring.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "kernels/base/buffer.hpp"
#include "kernels/base/view.hpp"
#include "runtime/comm/transfer.hpp"
#include "runtime/exchange/exchange.hpp"
#include "runtime/layout/halo_plan.hpp"

namespace annulus {

/// Moves rows of several tensors in one message per pair of ranks. Nothing is sent to ranks that need nothing. start()
/// and finish() alternate on every rank that has a part in the plan; neither is collective, neither waits for ranks
/// without one.
class HaloExchange {
 public:
  enum class Way {
    fetch,  ///< owners' rows -> halo rows
    home    ///< halo rows of gradients -> added to the owners' rows, by ascending rank of who sends
  };

  /// `comm` and `plan` outlive this.
  HaloExchange(const Communicator& comm, const HaloPlan& plan) : comm_(comm), plan_(plan) {}

  /// Local. Makes room for rows of up to `row_bytes` (all tensors and batches together). Throws ResourceError.
  void reserve(std::uint64_t row_bytes);
  /// Local. `from`: views whose rows are `rows`, which hold plan.own to fetch, plan.halo to bring home. They are staged:
  /// free to change once this returns. Throws ResourceError where nothing was reserved.
  void start(Way way, std::span<const ConstTensorView> from, const RowSet& rows);
  /// Waits. `to`: as many views of the same shapes and dtype, whose rows are `rows`, which hold plan.halo to fetch,
  /// plan.own to bring home (f32 or f64, added to).
  void finish(std::span<const TensorView> to, const RowSet& rows);
  /// Moves pending messages on. Local.
  void poll();

  /// Since it was last taken; exposed: waiting in finish().
  Traffic take_traffic() { return std::exchange(traffic_, {}); }
  /// Largest number of bytes staged at a time for rows of `row_bytes` (all tensors and batches together). Checked.
  static std::uint64_t staging_bytes(const HaloPlan& plan, std::uint64_t row_bytes);

 private:
  const std::vector<HaloPart>& outgoing() const { return way_ == Way::fetch ? plan_.leaving : plan_.arriving; }
  const std::vector<HaloPart>& incoming() const { return way_ == Way::fetch ? plan_.arriving : plan_.leaving; }

  const Communicator& comm_;
  const HaloPlan& plan_;
  Way way_ = Way::fetch;
  Buffer<std::byte> out_;  ///< one message after the other: per tensor [batch][rows of the part][heads][head_dim]
  Buffer<std::byte> in_;
  std::vector<Transfer> sends_;  // declared after the buffers they use: they wait before those are freed
  std::vector<Transfer> receives_;
  Traffic traffic_;
};

}  // namespace annulus
