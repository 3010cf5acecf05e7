/// A spec laid out over a ring: shapes, masks and sizes of every step. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "kernels/kernel_table.hpp"
#include "runtime/engine/ring_attention.hpp"
#include "runtime/exchange/exchange_kind.hpp"
#include "runtime/exchange/pass_sizes.hpp"
#include "runtime/layout/global_plan.hpp"
#include "runtime/layout/halo_plan.hpp"
#include "runtime/layout/halo_rounds.hpp"
#include "runtime/layout/ring_schedule.hpp"

namespace annulus {

/// What kernels are told of `q_rows` queries; the spans are kept.
kernels::Problem make_problem(const AttentionSpec& spec, std::int64_t q_rows,
                              std::span<const std::int64_t> query_positions, std::span<const float> sink);
/// In key coordinates; empty without ALiBi, which alone reads them.
std::vector<std::int64_t> query_positions(const AttentionSpec& spec, const Mask& mask, const RowSet& queries);
double call_flops(const AttentionSpec& spec, kernels::Direction direction, std::int64_t pairs);

/// What one row takes with it to another rank, and what comes back for it, all heads and batches together.
struct TripBytes {
  std::uint64_t there = 0;
  std::uint64_t back = 0;
};

/// Rows that travel straight to the ranks that need them: of keys, and of queries of global tokens.
struct DirectRows {
  std::int64_t keys = 0;            ///< over all ranks
  std::int64_t most_pieces = 0;     ///< of keys, cut by owner, that arrive on one rank: entries of its lists
  HaloRounds rounds{};              ///< of keys
  std::int64_t queries = 0;         ///< over all ranks
  std::int64_t most_queries = 0;    ///< that one rank has, own and visiting
  std::int64_t most_returning = 0;  ///< that one owner has room for as they come home
};

/// What one rank of the ring does. The spec is checked when the plan is made (throws UsageError).
class AttentionPlan {
 public:
  AttentionPlan(AttentionSpec spec, LayoutSpec layout, RingSchedule ring);

  const AttentionSpec& spec() const { return spec_; }
  const Layout& q_layout() const { return q_layout_; }
  const Layout& k_layout() const { return k_layout_; }
  const Mask& mask() const { return mask_; }
  RingSchedule ring() const { return ring_; }
  const RowSet& queries() const { return queries_; }
  std::int64_t q_rows() const { return q_layout_.rows(ring_.rank); }
  std::int64_t k_rows() const { return k_layout_.rows(ring_.rank); }

  /// What the kernels are told of this rank's queries; spans point into this plan and into `sink`.
  kernels::Problem problem(std::span<const float> sink) const;
  kernels::BlockShape block_shape(int owner) const { return block_of(k_layout_.rows(owner)); }
  /// Of a block of which `rows` have come along.
  kernels::BlockShape block_of(std::int64_t rows) const;
  /// Which rows of the owner's block this rank's queries see.
  BlockMask visible(int owner) const { return block_mask(mask_, q_layout_, ring_.rank, k_layout_, owner); }
  /// Key positions of all of the owner's rows; empty without ALiBi, which alone reads them.
  std::vector<std::int64_t> key_positions(int owner) const;
  /// Set if only needed rows travel, each once and straight from its owner: for masks that hide most of the sequence from
  /// every rank. Else whole blocks rotate. The same choice on every rank.
  const std::optional<HaloPlan>& halo() const { return halo_; }
  /// Of the halo: none is more than a shard. One at least, as many on every rank.
  const std::vector<HaloPlan>& rounds() const { return rounds_; }
  /// With a halo: queries of global tokens that travel to the keys. None where keys travel to all queries.
  const GlobalPlan& global() const { return global_; }
  /// What travels in one call; nothing without a halo.
  const DirectRows& direct() const { return direct_; }
  /// What the lists of rows above take: much where stripes are short.
  std::uint64_t list_bytes() const;
  /// What goes around by `ring`, of as many ranks as this plan's; `most_threads`: of any of them.
  PassSizes sizes(const kernels::KernelTable& table, kernels::Direction direction, const RingSchedule& ring,
                  int most_threads) const;

 private:
  /// Keys that a rank's queries see, but for those of `travelling`.
  RowSet needed(int rank, const RowSet& travelling) const;
  DirectRows count_direct(const RowSet& travelling) const;
  bool fits(const DirectRows& rows) const;
  bool is_less(const DirectRows& a, const DirectRows& b) const;
  void plan_direct();

  AttentionSpec spec_;
  Layout q_layout_;
  Layout k_layout_;
  Mask mask_;
  RingSchedule ring_;
  RowSet queries_;
  std::vector<std::int64_t> query_positions_;  ///< in key coordinates; empty without ALiBi
  std::optional<HaloPlan> halo_;
  std::vector<HaloPlan> rounds_;
  GlobalPlan global_;
  DirectRows direct_;
};

/// Bytes of a slot for the largest block, and of one for its gradients: what a rank may keep in shared memory, once or twice.
std::uint64_t slot_bytes(const AttentionPlan& plan, const kernels::KernelTable& table);

/// In how many parts the gradients of a block go home behind the last step, with `threads` in a rank. Parts are computed one
/// after the other, so each should give all threads several tasks; one thread waits for nobody. Eight leave an eighth of the
/// way home bare; sixteen hid no more on a link of 200 Mbit/s. A device computes all parts at once.
int home_parts(const kernels::KernelTable& table, const kernels::BlockShape& largest, int threads);

/// Bytes that a rank of `table` takes on its device; 0 for rows that compute in host memory.
std::uint64_t device_bytes(const AttentionSpec& spec, LayoutSpec layout, int ranks, const kernels::KernelTable& table,
                           ExchangeKind exchange);

}  // namespace annulus
