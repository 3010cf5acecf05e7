/// A stack of attention layers over activations that are sharded over the ranks of a communicator.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "kernels/base/buffer.hpp"
#include "kernels/base/workers.hpp"
#include "runtime/comm/communicator.hpp"
#include "runtime/engine/local_attention.hpp"
#include "runtime/engine/ring_attention.hpp"
#include "runtime/exchange/halo_exchange.hpp"
#include "runtime/stack/layer.hpp"
#include "runtime/stack/model.hpp"
#include "runtime/stack/stack_rows.hpp"

namespace annulus::stack {

/// What one layer in one direction cost all ranks.
struct LayerCost {
  std::int64_t index = 0;
  kernels::Direction direction = kernels::Direction::forward;
  std::uint64_t messages = 0;    ///< sums over ranks
  std::uint64_t bytes_sent = 0;
  double flops = 0;              ///< of its attention, useful pairs only
  double seconds = 0;            ///< maxima over ranks, the row-wise parts included
  double attention_seconds = 0;
  double exposed_comm_seconds = 0;
};

/// A forward layer that has just been computed on this rank; valid until the observer returns. Dense:
/// x [batch, rows, width] in the dtype of the model, out [batch, rows, heads, head_dim], lse [batch, heads, rows].
/// Rows beside the shard's (a resident halo) may be incomplete.
struct LayerView {
  std::int64_t index;
  const RowSet& rows;
  const LayerWeights& weights;
  const std::byte* x_in;
  const Qkv& qkv;
  const float* out;
  const float* lse;
  const std::byte* x_out;
};
/// The shard's rows of a layer: x [batch, rows, 1, width] behind it, q, k, v, out and lse within.
struct ShardView {
  ConstTensorView x;
  ConstTensorView q;
  ConstTensorView k;
  ConstTensorView v;
  ConstTensorView out;  ///< f32
  ConstRowStats lse;
};
/// Called on every rank after each forward layer; may be collective.
using ForwardObserver = std::function<void(const LayerView& view)>;

/// Runs the layers of a model. Construction and methods are collective unless they say local. Memory per rank is
/// O(shard); with Direction::backward every layer's x, out and lse are kept: O(layers * shard). See memory_plan.hpp.
/// Between two global layers nothing is sent, not even to agree, if halos are resident: the local layers of a run work on
/// the shard and its halo, which one exchange of x fills behind the global layer before them.
class Stack {
 public:
  /// `comm` outlives this. `direction` says how far the stack will be run. Throws UsageError for a resident halo that the
  /// model or the layout does not allow.
  Stack(const Communicator& comm, LayoutSpec layout, ModelSpec model, const Execution& execution,
        kernels::Direction direction, LocalHalo local_halo = LocalHalo::automatic);

  const ModelSpec& model() const { return model_; }                   ///< local, as all that follow
  const Layout& layout() const { return ring().q_layout(); }
  const RingAttention& ring() const { return *rings_[variants_.of(0)]; }  ///< of the first layer
  LocalHalo local_halo() const { return local_halo_; }                ///< resolved
  Workers& workers() { return workers_; }
  std::int64_t rows() const { return rows_.own().rows(); }            ///< of this rank's shard
  /// Rows of the input activations that this rank reads: its shard, and the halo of local layers at the start.
  const RowSet& input_rows(std::int64_t layer = 0) const { return rows_.held(layer); }
  /// [batch, input_rows, width] of the layer that forward() begins with: written by the caller before.
  std::span<std::byte> input(std::int64_t layer = 0) { return first(x(layer), input_rows(layer)); }
  /// This rank's rows of the final activations, once forward() is done.
  std::span<const std::byte> output() const;
  /// f32 [batch, rows, width]. Before backward(): the gradient of the output, written by the caller; after it: of the
  /// input activations. Weights are frozen: they get no gradients. Rounding to the dtype has slope 1.
  std::span<float> gradient() { return dx_.span().first(elements(rows_.own(), model_.width())); }

  /// Layers [begin, layers). `observe` may be empty.
  void forward(const ForwardObserver& observe, std::int64_t begin = 0);
  /// Within an observer of `layer`: hands `take` what the layer has left on the shard's rows alone, a halo put aside. May be
  /// collective if `take` is.
  void with_shard(std::int64_t layer, const std::function<void(const ShardView&)>& take);
  /// Rows beside the shard that `layer` computes for the next layer of its run; none behind a run. Owners have the same
  /// values, but not the same bits: their tiles have other edges.
  RowSet halo_behind(std::int64_t layer) const;
  /// x [batch, rows, 1, width] behind `layer`, before the next one: of the rows that `layer` held.
  TensorView behind(std::int64_t layer) { return rows_view(x(layer + 1).data(), model_.attention.dtype, rows_.held(layer)); }
  const RowSet& rows_behind(std::int64_t layer) const { return rows_.held(layer); }
  /// Once, after forward(). `observe` (or none) is called on every rank after each layer; local.
  void backward(const std::function<void(std::int64_t index)>& observe);
  /// What all layers so far cost, in the order in which they ran.
  std::vector<LayerCost> costs() const;

 private:
  /// Of resident layers of one variant: their attention, and the pairs that the shard's queries see.
  struct Resident {
    LocalAttention attention;
    std::int64_t useful_pairs;
  };
  bool keeps_all() const { return direction_ == kernels::Direction::backward; }
  Buffer<std::byte>& x(std::int64_t layer) { return x_[slot(layer, x_.size())]; }
  Buffer<float>& out(std::int64_t layer) { return out_[slot(layer, out_.size())]; }
  Buffer<float>& lse(std::int64_t layer) { return lse_[slot(layer, lse_.size())]; }
  static std::size_t slot(std::int64_t layer, std::size_t slots) { return static_cast<std::size_t>(layer) % slots; }
  RingAttention& ring_of(std::int64_t layer) { return *rings_[variants_.of(layer)]; }
  std::size_t elements(const RowSet& rows, std::int64_t width) const {
    return static_cast<std::size_t>(model_.attention.batch * rows.rows() * width);
  }
  std::span<std::byte> first(const Buffer<std::byte>& x, const RowSet& rows) const {
    return x.span().first(elements(rows, model_.width()) * size_of(model_.attention.dtype));
  }
  /// Runs work of this rank alone.
  template <class Work>
  auto compute(const char* name, Work&& work) {
    const Timed span(timeline_, Activity::compute, name);
    return work();
  }
  void allocate();
  HaloExchange& exchange_of(std::int64_t layer);
  void enter(std::int64_t layer);
  void attend(std::int64_t layer, const LayerWeights& weights);
  void attend_backward(std::int64_t layer, const LayerWeights& weights);
  void enter_backward(std::int64_t layer);
  void leave_backward(std::int64_t layer);
  Resident& resident_of(std::int64_t layer);
  template <class Call>
  void attend_with(std::int64_t layer, const Call& call);
  TensorView rows_view(std::byte* data, DType dtype, const RowSet& rows) const;

  /// What this rank alone knows of a layer: sums and maxima over ranks are taken in costs().
  struct OwnCost {
    std::int64_t index;
    kernels::Direction direction;
    CallReport attention;  ///< flops: of the shard's queries alone
    Traffic halo;  ///< of x or its gradient, behind the layer
    double seconds;
  };
  OwnCost& open_cost(std::int64_t layer, kernels::Direction direction);

  const Communicator& comm_;
  Timeline* timeline_;
  bool deterministic_;
  ModelSpec model_;
  kernels::Direction direction_;
  LocalHalo local_halo_;
  LayerVariants variants_;
  StackRows rows_;
  std::vector<std::unique_ptr<RingAttention>> rings_;  ///< by variant; null for resident ones but the first layer's
  std::map<std::size_t, Resident> residents_;  ///< by variant
  std::map<const StackRows::Run*, HaloExchange> exchanges_;
  Workers workers_;
  std::unique_ptr<DeviceProjection> projection_;  ///< null: on the processor
  LayerRows layer_rows_;
  std::vector<Buffer<std::byte>> x_;  ///< layers + 1 of them if all are kept, else 2 taken in turn
  std::vector<Buffer<float>> out_;    ///< layers, or 1
  std::vector<Buffer<float>> lse_;
  Qkv qkv_;
  Buffer<float> dx_;  ///< this and the rest only for backward
  Buffer<float> dout_;
  QkvGradient qkv_gradient_;
  std::vector<float> dsink_;  ///< asked for by the ring, read by nobody: weights are frozen
  std::vector<OwnCost> costs_;
};

/// Fills the gradient of the output with standard normal numbers, a function of seed, global position and channel.
void seed_gradient(Stack& stack, std::uint64_t seed, int rank);

}  // namespace annulus::stack
