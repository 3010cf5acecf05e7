/// A rank's queries meet its own keys and the few rows of others that its mask reaches: what local masks do instead of a
/// ring.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/engine/attention_plan.hpp"
#include "runtime/engine/held_keys.hpp"
#include "runtime/exchange/halo_exchange.hpp"

namespace annulus {

/// One exchange forward, two backward (keys and values come, their gradients go home). For plans with a halo.
class HaloAttention {
 public:
  /// All outlive this.
  HaloAttention(const Communicator& comm, const AttentionPlan& plan, const kernels::KernelTable& table,
                kernels::Resources resources);

  /// Local. Makes room for a call, so that no rank fails once rows are under way. Throws ResourceError.
  void reserve(kernels::Direction direction);
  /// After all ranks have reserved. Both return the visible pairs; own keys are met while the halo travels.
  std::int64_t forward(const ForwardCall& call, kernels::ForwardPass& pass);
  std::int64_t backward(const BackwardCall& call, kernels::BackwardPass& pass);

  /// Of the last call.
  Traffic take_traffic() { return exchange_.take_traffic(); }
  /// Bytes beside the pass that a call allocates with `own_rows` and `halo_rows` keys. Checked.
  static std::uint64_t bytes(const AttentionSpec& spec, const kernels::KernelTable& table, std::int64_t own_rows,
                             std::int64_t halo_rows, kernels::Direction direction);

 private:
  struct Gradients {  ///< in gradient_dtype: what is added up must not be rounded before
    Buffer<std::byte> dk;
    Buffer<std::byte> dv;
  };
  DType gradient_type() const { return kernels::gradient_dtype(plan_.spec().dtype); }
  TensorView keys_view(const Buffer<std::byte>& memory, DType dtype, std::int64_t rows) const;
  void fetch(const ConstTensorView& k, const ConstTensorView& v);
  void land();
  Gradients make_gradients(std::int64_t rows) const;

  const AttentionPlan& plan_;
  const HaloPlan& halo_;
  kernels::Resources resources_;
  HeldKeys keys_;
  HaloExchange exchange_;
  Buffer<std::byte> k_;  ///< of the halo
  Buffer<std::byte> v_;
  Gradients own_;
  Gradients away_;  ///< of the halo
};

}  // namespace annulus
