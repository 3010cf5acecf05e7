/// What a layer does to each row by itself, before and after its attention, forward and backward.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/base/buffer.hpp"
#include "kernels/base/workers.hpp"
#include "runtime/layout/row_set.hpp"
#include "runtime/stack/device_projection.hpp"
#include "runtime/stack/model.hpp"
#include "runtime/stack/rope.hpp"

namespace annulus::stack {

/// Dense tensors of one layer on one rank, in the dtype of the model: q [batch, rows, heads, head_dim], k and v
/// [batch, rows, kv_heads, head_dim].
struct Qkv {
  Buffer<std::byte> q;
  Buffer<std::byte> k;
  Buffer<std::byte> v;
};
/// Their gradients, f32 and of the same shapes.
struct QkvGradient {
  Buffer<float> dq;
  Buffer<float> dk;
  Buffer<float> dv;
};

/// The row-wise parts of a layer for the rows that one rank holds. Work is cut into fixed blocks of `block_rows` (batch, row) pairs
/// that the workers share, so bits do not depend on the number of workers. All functions are local; x, out, dx and
/// dout are dense [batch * rows, width]. `model` and `workers` outlive this.
class LayerRows {
 public:
  static constexpr std::int64_t block_rows = 256;

  /// `most_rows`: (batch, row) pairs of any call.
  LayerRows(const ModelSpec& model, Workers& workers, std::int64_t most_rows = block_rows);

  /// From here on projections go through `device`, which outlives this; norm and rotation stay on the processor.
  void project_on(DeviceProjection& device) { device_ = &device; }

  /// Which positions the rows of the next calls hold; outlives them.
  void hold(const RowSet& rows) { held_ = &rows; }

  /// q, k, v = rope(Wq n), rope(Wk n), Wv n with n = rms_norm(x); x in the dtype of the model.
  void before_attention(LayerKind kind, const LayerWeights& weights, const std::byte* x, const Qkv& qkv);
  /// x_out = round(kept x_in + added Wo out), kept and added as in ModelSpec; out f32. `x_out` may be `x_in`.
  void after_attention(const LayerWeights& weights, const std::byte* x_in, const float* out, std::byte* x_out);
  /// dout = added Wo^T dx; f32.
  void after_attention_backward(const LayerWeights& weights, const float* dx, float* dout);
  /// dx = kept dx + d(before_attention)/dx of (dq, dk, dv); x_in is what forward read. Rounding has slope 1.
  void before_attention_backward(LayerKind kind, const LayerWeights& weights, const std::byte* x_in,
                                 const QkvGradient& gradient, float* dx);

  /// Bytes of one worker's scratch for that many (batch, row) pairs.
  static std::uint64_t scratch_bytes(const ModelSpec& model, std::int64_t most_rows);

 private:
  struct Scratch {
    Buffer<float> wide;    ///< [block_rows][width]
    Buffer<float> qkv;     ///< [block_rows][qkv_width], also lent as a second [block_rows][width]
    Buffer<float> angles;  ///< cosines and sines of one position
  };
  /// [first, first + count) of the (batch, row) pairs.
  struct Block {
    std::int64_t first;
    std::int64_t count;
  };
  /// Leaves the rows that a projection reads in `room`, or elsewhere, and says where: dense.
  using Before = std::function<const float*(Block, Scratch&, float* room)>;
  /// Takes the projected rows; may overwrite them, and the scratch.
  using After = std::function<void(Block, Scratch&, float* projected)>;

  void project_rows(const Projection& projection, const Before& before, const After& after);
  void project_rows_on_device(const Projection& projection, const Before& before, const After& after);
  void for_each_block(Block rows, const std::function<void(Block, Scratch&)>& body);
  const Rope& rope(LayerKind kind) const { return kind == LayerKind::local ? local_rope_ : global_rope_; }
  void rotate_heads(const Rope& rope, Block rows, Way way, float* fused, float* angles) const;
  Projection qkv_projection(const LayerWeights& weights, Way way) const {
    return {weights.layer, Matrix::qkv, way, model_.width(), model_.qkv_width(), weights.qkv.data()};
  }
  Projection out_projection(const LayerWeights& weights, Way way) const {
    return {weights.layer, Matrix::out, way, model_.width(), model_.width(), weights.out.data()};
  }

  const ModelSpec& model_;
  std::int64_t rows() const { return model_.attention.batch * held_->rows(); }

  const RowSet* held_ = nullptr;
  Workers& workers_;
  Rope global_rope_;
  Rope local_rope_;
  std::vector<Scratch> scratch_;  ///< by worker
  DeviceProjection* device_ = nullptr;
};

}  // namespace annulus::stack
