/// A block of keys in this rank's own memory, met without a ring.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/contract/attention.hpp"
#include "runtime/engine/ring_attention.hpp"
#include "runtime/layout/row_set.hpp"

namespace annulus {

/// Which rows meet: positions of the rows of q, of k and v, and of those queries that are to be computed. Queries outside
/// `computed` see nothing.
struct HeldRows {
  const RowSet& queries;
  const RowSet& computed;
  const RowSet& keys;
};

/// Packs, attends and takes the gradients. Local; memory comes from the pool of `resources`.
class HeldKeys {
 public:
  /// All outlive this.
  HeldKeys(const kernels::KernelTable& table, const AttentionSpec& spec, const Mask& mask, kernels::Resources resources)
      : table_(table), spec_(spec), mask_(mask), resources_(resources) {}

  /// k and v [batch, rows.keys.rows(), kv_heads, head_dim]. Returns the visible pairs.
  std::int64_t forward(const HeldRows& rows, const ConstTensorView& k, const ConstTensorView& v,
                       kernels::ForwardPass& pass, const Progress& progress) const;
  /// Writes dk and dv, of the shape of k and v and any dtype: the shares of these queries alone.
  std::int64_t backward(const HeldRows& rows, const ConstTensorView& k, const ConstTensorView& v,
                        kernels::BackwardPass& pass, const TensorView& dk, const TensorView& dv,
                        const Progress& progress) const;

 private:
  kernels::BlockShape shape(const HeldRows& rows) const;
  std::vector<std::int64_t> key_positions(const HeldRows& rows) const;
  Buffer<std::byte> packed(const kernels::BlockShape& shape, kernels::Direction direction, const ConstTensorView& k,
                           const ConstTensorView& v) const;

  const kernels::KernelTable& table_;
  const AttentionSpec& spec_;
  const Mask& mask_;
  kernels::Resources resources_;
};

}  // namespace annulus
