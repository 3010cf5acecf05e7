/// How packed blocks and their gradients move between the ranks of a ring during one call.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/base/dtype.hpp"
#include "runtime/comm/communicator.hpp"
#include "runtime/exchange/exchange_kind.hpp"
#include "runtime/layout/ring_schedule.hpp"

namespace annulus {

/// What one call moves, by owner: known to every rank from the layout alone.
struct PassSizes {
  std::vector<std::uint64_t> block_bytes;
  std::vector<std::int64_t> gradient_elements;  ///< empty in a forward pass
  DType gradient_dtype = DType::f32;

  std::uint64_t gradient_bytes(int owner) const {
    if (gradient_elements.empty()) return 0;
    return static_cast<std::uint64_t>(gradient_elements[static_cast<std::size_t>(owner)]) * size_of(gradient_dtype);
  }
};

/// What one call cost this rank.
struct Traffic {
  std::uint64_t messages = 0;
  std::uint64_t bytes = 0;
  double exposed_seconds = 0;  ///< spent waiting
};

/// One pass: begin -> pack into own_block() -> open -> per step {start, attend to block(step), finish} and, in backward,
/// {write share(step), add_share} -> home(). Both ways give identical bits: gradients of one owner are added up in the
/// order of the ring (owner, owner - 1, ...), whatever the timing.
class Exchange {
 public:
  virtual ~Exchange() = default;

  /// Collective. Makes room for a pass (throws the same ResourceError on all ranks) once the last one is read.
  virtual void begin(PassSizes sizes) = 0;
  /// Where this rank packs its own block, between begin and open. 64-byte aligned.
  virtual std::byte* own_block() = 0;
  /// Call on every rank after all ranks have packed and agreed. Local.
  virtual void open() = 0;

  /// The block in hand sets out for the previous rank, the next one for here. Nothing at the last step. Local.
  virtual void start(int step) = 0;
  /// The packed block of owner_at(step), valid until finish(step).
  virtual const std::byte* block(int step) = 0;
  /// Waits until the next block is here.
  virtual void finish(int step) = 0;

  /// Where this rank writes its share of the gradients of owner_at(step).
  virtual std::byte* share(int step) = 0;
  /// Adds the share to the owner's sum, in ring order. `empty`: this rank saw nothing of the block, share is not read.
  virtual void add_share(int step, bool empty) = 0;
  /// The summed gradients of this rank's own block, after the last step. Waits for the last rank that adds to them.
  virtual const std::byte* home() = 0;

  /// Moves pending messages on; called from inside the kernels. Local.
  virtual void poll() = 0;

  const Traffic& traffic() const { return traffic_; }

 protected:
  Traffic traffic_;
};

/// Collective. `wanted` automatic: shared if all ranks share memory and it has room for `bytes_per_rank`, else messages.
/// Throws the same error on all ranks: UsageError for shared across nodes and for device (not built), ResourceError for
/// shared without room.
std::unique_ptr<Exchange> make_exchange(ExchangeKind wanted, const Communicator& comm, RingSchedule ring,
                                        std::uint64_t bytes_per_rank, ExchangeKind* resolved);

/// to[i] += from[i] for `elements` of type f32 or f64.
void add_gradients(DType dtype, std::byte* to, const std::byte* from, std::int64_t elements);

}  // namespace annulus
