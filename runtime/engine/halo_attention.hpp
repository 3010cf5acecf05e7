/// A rank's queries meet its own keys and the few rows of others that its mask reaches: what local masks do instead of a
/// ring.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>

#include "runtime/engine/attention_plan.hpp"
#include "runtime/engine/global_rows.hpp"
#include "runtime/engine/held_keys.hpp"
#include "runtime/exchange/halo_exchange.hpp"

namespace annulus {

/// For plans with a halo. Keys and values come, and with them the queries of others' global tokens; results of those
/// queries, and in backward all gradients, go home: per call at most one message each way between two ranks.
class HaloAttention {
 public:
  /// All outlive this.
  HaloAttention(const Communicator& comm, const AttentionPlan& plan, const kernels::KernelTable& table,
                kernels::Resources resources);

  /// Local. Makes room for a call, so that no rank fails once rows are under way. Throws ResourceError.
  void reserve(kernels::Direction direction);
  /// After all ranks have reserved. Both return the visible pairs; own keys are met while rows travel. The passes are
  /// those of this rank's queries, and are finished.
  std::int64_t forward(const ForwardCall& call, kernels::ForwardPass& pass);
  std::int64_t backward(const BackwardCall& call, kernels::BackwardPass& pass, std::span<double> dsink);

  /// Of the last call.
  Traffic take_traffic() { return exchange_.take_traffic(); }
  /// Bytes beside the pass that a call allocates with `own_rows` keys. Checked.
  static std::uint64_t bytes(const AttentionSpec& spec, const kernels::KernelTable& table, std::int64_t own_rows,
                             const DirectRows& rows, kernels::Direction direction);
  /// What one key travels with (k and v) and returns with (their gradients), all heads and batches together. Checked.
  static TripBytes trip_bytes(const AttentionSpec& spec, kernels::Direction direction);

 private:
  /// Rows of k and v, or of their gradients.
  struct KeyRows {
    Buffer<std::byte> memory;
    std::array<TensorView, 2> views;
  };
  KeyRows make(DType dtype, std::int64_t rows) const;
  MeetingRows at_home() const { return {plan_.queries(), plan_.global().at_home}; }
  int passes_over_own_keys() const { return global_.rows().empty() ? 1 : 2; }
  template <class Call>
  void fetch(const Call& call);
  void land();

  const AttentionPlan& plan_;
  const HaloPlan& halo_;
  Means means_;
  GlobalRows global_;
  HaloExchange exchange_;
  std::optional<HeldKeys> own_keys_;  ///< of the running call, as all that follow
  std::optional<HeldKeys> halo_keys_;
  KeyRows arrived_;   ///< k and v of the halo
  KeyRows own_sums_;  ///< dk and dv in gradient_dtype: what is added up must not be rounded before
  KeyRows halo_sums_;
};

}  // namespace annulus
