/// A block of keys in this rank's own memory, met without a ring.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/kernel_table.hpp"
#include "runtime/engine/ring_attention.hpp"
#include "runtime/layout/row_set.hpp"

namespace annulus {

/// What the attention of one rank is computed with; all outlive whoever is given it.
struct Means {
  const kernels::KernelTable& table;
  const AttentionSpec& spec;
  const Mask& mask;
  kernels::Resources resources;
};

/// Who meets the keys: positions of the rows of a pass, and of those that are to be computed. Others see nothing.
struct MeetingRows {
  const RowSet& queries;
  const RowSet& computed;
};

/// The keys and values at some positions during one call: packed, then met by one pass or several. All is local.
class HeldKeys {
 public:
  /// Makes room for up to `most_rows` keys that `passes` passes will meet, from the pool of the means. Throws
  /// ResourceError.
  HeldKeys(const Means& means, std::int64_t most_rows, kernels::Direction direction, int passes = 1);

  /// k and v [batch, keys.rows(), kv_heads, head_dim], from now on those that are met, in place of those before them.
  /// `keys` outlive that.
  void pack(const RowSet& keys, const ConstTensorView& k, const ConstTensorView& v);
  /// Returns the visible pairs.
  std::int64_t forward(const MeetingRows& rows, kernels::ForwardPass& pass, const Progress& progress) const;
  /// The shares of this pass in dk and dv are added to those of the passes that met the same keys before it.
  std::int64_t backward(const MeetingRows& rows, kernels::BackwardPass& pass, const Progress& progress);
  /// Writes dk and dv, of the shape of k and v and any dtype: the sums over all passes.
  void unpack_gradient(const TensorView& dk, const TensorView& dv) const;

  /// What one of up to `rows` keys allocates. Checked.
  static std::uint64_t bytes(const kernels::KernelTable& table, const AttentionSpec& spec, std::int64_t rows,
                             kernels::Direction direction, int passes = 1);

 private:
  BlockMask visible(const MeetingRows& rows) const;
  kernels::Block block() const { return {shape_, packed_.data(), positions_}; }

  Means means_;
  const RowSet* keys_ = nullptr;
  kernels::Direction direction_;
  kernels::BlockShape shape_;
  std::vector<std::int64_t> positions_;  ///< of the keys; empty without ALiBi, which alone reads them
  Buffer<std::byte> packed_;
  Buffer<std::byte> gradient_;  ///< sum over the passes so far, in the backend's layout
  Buffer<std::byte> share_;     ///< of the second pass and those after it
  bool has_gradient_ = false;
};

}  // namespace annulus
