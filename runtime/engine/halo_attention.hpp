/// A rank's queries meet its own keys and the few rows of others that its mask reaches: what local masks do instead of
/// a ring.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>

#include "runtime/engine/attention_plan.hpp"
#include "runtime/engine/global_rows.hpp"
#include "runtime/engine/held_keys.hpp"
#include "runtime/exchange/halo_exchange.hpp"

namespace annulus {

/// For plans with a halo, in the rounds of the plan: while the keys and values of one round are met those of the next
/// one travel. With the first come the queries of others' global tokens; results of those queries, and in backward the
/// gradients of each round, go home: per call one message each way between two ranks, and one more where keys of a
/// later round and queries travel between them.
class HaloAttention {
 public:
  /// All outlive this; `timeline` may be null.
  HaloAttention(const Communicator& comm, const AttentionPlan& plan, const kernels::KernelTable& table,
                kernels::Resources resources, Timeline* timeline);

  /// Local. Makes room for a call, so that no rank fails once rows are under way. Throws ResourceError.
  void reserve(kernels::Direction direction);
  /// After all ranks have reserved. Both return the visible pairs; own keys are met while rows travel. The passes are
  /// those of this rank's queries, and are finished.
  std::int64_t forward(const ForwardCall& call, kernels::ForwardPass& pass);
  std::int64_t backward(const BackwardCall& call, kernels::BackwardPass& pass, std::span<double> dsink);

  /// Of the last call.
  Traffic take_traffic();
  /// Bytes beside the pass that a call allocates with `own_rows` keys. Checked.
  static std::uint64_t bytes(const AttentionSpec& spec, const kernels::KernelTable& table, std::int64_t own_rows,
                             const DirectRows& rows, kernels::Direction direction);
  /// What one key travels with (k and v) and returns with (their gradients), all heads and batches together. Checked.
  static TripBytes trip_bytes(const AttentionSpec& spec, kernels::Direction direction);

 private:
  MeetingRows at_home() const { return {plan_.queries(), plan_.global().at_home}; }
  int passes_over_own_keys() const { return global_.rows().empty() ? 1 : 2; }
  std::size_t rounds() const { return plan_.rounds().size(); }
  const RowSet& halo(std::size_t round) const { return plan_.rounds()[round].halo; }
  std::int64_t most_halo_rows() const;
  /// With one round nothing is on its way here when something leaves for home: one exchange has the room for both.
  HaloExchange& homing() { return rounds() == 1 ? fetching_ : homing_; }
  void follow(HaloExchange& exchange, std::size_t round) const;
  void reserve_exchanges(kernels::Direction direction);
  Buffer<std::byte> make(std::uint64_t row_bytes, std::int64_t rows) const;
  TensorView view(std::byte* memory, DType dtype, std::int64_t rows) const;
  /// Gradients of a round.
  std::array<TensorView, 2> leaving(std::int64_t rows) const;
  /// Two tensors of `rows` keys in one memory: k and v, or dk and dv.
  std::array<TensorView, 2> views(const Buffer<std::byte>& memory, DType dtype, std::int64_t rows) const;
  std::array<TensorView, 2> own_sums() const;

  template <class Call>
  void fetch(const Call& call, std::size_t round);
  void land(std::size_t round);
  template <class Call, class Meet>
  std::int64_t meet_rounds(const Call& call, Meet&& meet);
  void send_home(std::size_t round, std::span<const ConstTensorView> gradients);
  void receive_home(std::size_t round, std::span<const TensorView> gradients);
  void poll();
  /// Runs work of this rank alone.
  template <class Work>
  std::int64_t compute(const char* name, std::int64_t number, Work&& work) const {
    const Timed span(timeline_, Activity::compute, name, number);
    return work();
  }

  Timeline* timeline_;
  const AttentionPlan& plan_;
  Means means_;
  GlobalRows global_;
  HaloExchange fetching_;
  HaloExchange homing_;
  std::optional<HeldKeys> own_keys_;  ///< of the running call, as all that follow
  std::optional<HeldKeys> halo_keys_;
  Buffer<std::byte> in_transit_;  ///< k and v of a round before they are packed, then their gradients
  /// Of 16-bit types, whose gradients are f32: dv, which finds no room there. Forward and backward have `in_transit_` of one size,
  /// so that a pool keeps it once.
  Buffer<std::byte> second_gradient_;
  Buffer<std::byte> own_sums_;    ///< dk and dv in gradient_dtype: what is added up must not be rounded before
};

}  // namespace annulus
