/// Query rows that visit the ranks whose keys they see: what global tokens do instead of drawing all keys home.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "runtime/engine/attention_plan.hpp"
#include "runtime/engine/held_keys.hpp"
#include "runtime/exchange/halo_exchange.hpp"

namespace annulus {

/// The travelling queries that this rank owns and those that visit it, during one call. Every rank attends to its own
/// keys for all of them; what comes of it goes home, where owners put it together: own part first, then by ascending
/// rank.
///   forward:   q visits;                   out and lse over the visited keys go home and are merged
///   backward:  q, out, dout and lse visit; dq over the visited keys goes home and is added
/// What goes home is f32 (f64 for f64 tensors), out normalised. All methods are local: the caller moves travelling()
/// and returning() between ranks by the plan's global().visits. Where no query travels nothing is done.
class GlobalRows {
 public:
  /// All outlive this.
  GlobalRows(const AttentionPlan& plan, const kernels::KernelTable& table, kernels::Resources resources);

  /// Makes room for a call, its pass included. Throws ResourceError.
  void reserve(kernels::Direction direction);
  /// Copies this rank's own travelling rows from the call.
  void collect(const ForwardCall& call);
  void collect(const BackwardCall& call);

  /// The positions of the rows of the views below: own and visiting.
  const RowSet& rows() const { return rows_; }
  /// Filled in by collect() for own rows, by the caller for visiting ones.
  std::vector<TensorView> travelling() const;
  /// Written by attend() for all rows; the caller has others' parts of own rows meet them by meet_home().
  std::vector<TensorView> returning() const;
  /// How a part that comes home meets what is there.
  HaloExchange::Meet meet_home() const;

  /// All rows meet this rank's keys. Returns the visible pairs.
  std::int64_t attend(HeldKeys& keys);
  /// Writes own rows, all parts of which are home, to the results of the call.
  void settle(const ForwardCall& call);
  void settle(const BackwardCall& call) const;

  /// Bytes beside those of the keys that a call allocates for `rows` own and visiting queries. Checked.
  static std::uint64_t bytes(const AttentionSpec& spec, const kernels::KernelTable& table, std::int64_t rows,
                             kernels::Direction direction);
  /// What one query travels with and returns with, all heads and batches together. Checked.
  static TripBytes trip_bytes(const AttentionSpec& spec, kernels::Direction direction);

 private:
  struct Tensor {
    Buffer<std::byte> memory;
    TensorView view;
  };
  Tensor make(DType dtype, std::int64_t columns);
  RowStats lse() const;
  kernels::Problem problem() const;
  std::unique_ptr<kernels::ForwardPass> forward_pass();
  std::unique_ptr<kernels::BackwardPass> backward_pass();
  void take(const ConstTensorView& from, const TensorView& to) const;
  void give(const ConstTensorView& from, const TensorView& to) const;
  void add_sink(std::span<const float> sink) const;

  const AttentionPlan& plan_;
  const kernels::KernelTable& table_;
  kernels::Resources resources_;
  RowSet rows_;
  std::vector<std::int64_t> positions_;  ///< in key coordinates; empty without ALiBi
  kernels::Direction direction_ = kernels::Direction::forward;
  Tensor q_;
  Tensor result_;  ///< forward: out and, in one more column, lse; backward: dq
  Tensor lse_;     ///< [batch, heads, rows] as kernels take it
  Tensor out_;     ///< backward
  Tensor dout_;
};

}  // namespace annulus
