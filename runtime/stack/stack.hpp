/// A stack of attention layers over activations that are sharded over the ranks of a communicator.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "kernels/base/buffer.hpp"
#include "kernels/base/workers.hpp"
#include "runtime/comm/communicator.hpp"
#include "runtime/engine/ring_attention.hpp"
#include "runtime/stack/layer.hpp"
#include "runtime/stack/model.hpp"

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
struct LayerView {
  std::int64_t index;
  const LayerWeights& weights;
  const std::byte* x_in;
  const Qkv& qkv;
  const float* out;
  const float* lse;
  const std::byte* x_out;
};
/// Called on every rank after each forward layer; may be collective.
using ForwardObserver = std::function<void(const LayerView& view, const LayerCost& cost)>;

/// Runs the layers of a model. Construction and methods are collective unless they say local. Memory per rank is
/// O(shard); with Direction::backward every layer's x, out and lse are kept: O(layers * shard). See memory_plan.hpp.
class Stack {
 public:
  /// `comm` outlives this. `direction` says how far the stack will be run.
  Stack(const Communicator& comm, LayoutSpec layout, ModelSpec model, const Execution& execution,
        kernels::Direction direction);

  const ModelSpec& model() const { return model_; }                   ///< local, as all that follow
  const Layout& layout() const { return ring().q_layout(); }
  const RingAttention& ring() const { return *rings_[index_of(model_.kind(0))]; }  ///< of the first layer
  Workers& workers() { return workers_; }
  std::int64_t rows() const { return rows_; }                         ///< of this rank's shard
  /// This rank's rows [batch, rows, width] of the input activations: written by the caller before forward().
  std::span<std::byte> input() { return x_.front().span(); }
  /// This rank's rows of the final activations, once forward() is done.
  std::span<const std::byte> output() const;
  /// f32 [batch, rows, width]. Before backward(): the gradient of the output, written by the caller; after it: of the
  /// input activations. Weights are frozen: they get no gradients. Rounding to the dtype has slope 1.
  std::span<float> gradient() { return dx_.span(); }

  /// `observe` may be empty.
  void forward(const ForwardObserver& observe);
  /// Once, after forward().
  void backward(const std::function<void(const LayerCost&)>& observe);

 private:
  bool keeps_all() const { return direction_ == kernels::Direction::backward; }
  Buffer<std::byte>& x(std::int64_t layer) { return x_[slot(layer, x_.size())]; }
  Buffer<float>& out(std::int64_t layer) { return out_[slot(layer, out_.size())]; }
  Buffer<float>& lse(std::int64_t layer) { return lse_[slot(layer, lse_.size())]; }
  static std::size_t slot(std::int64_t layer, std::size_t slots) { return static_cast<std::size_t>(layer) % slots; }
  static std::size_t index_of(LayerKind kind) { return static_cast<std::size_t>(kind); }
  RingAttention& ring_of(std::int64_t layer) { return *rings_[index_of(model_.kind(layer))]; }
  void allocate();
  void attend(std::int64_t layer, const LayerWeights& weights);
  void attend_backward(std::int64_t layer, const LayerWeights& weights);
  LayerCost cost_of(std::int64_t layer, kernels::Direction direction, double seconds);

  const Communicator& comm_;
  ModelSpec model_;
  kernels::Direction direction_;
  std::array<std::optional<RingAttention>, 2> rings_;  ///< by kind; those that the model has
  Workers workers_;
  std::int64_t rows_;
  LayerRows layer_rows_;
  std::vector<Buffer<std::byte>> x_;  ///< layers + 1 of them if all are kept, else 2 taken in turn
  std::vector<Buffer<float>> out_;    ///< layers, or 1
  std::vector<Buffer<float>> lse_;
  Qkv qkv_;
  Buffer<float> dx_;  ///< this and the rest only for backward
  Buffer<float> dout_;
  QkvGradient qkv_gradient_;
  std::vector<float> dsink_;  ///< asked for by the ring, read by nobody: weights are frozen
};

/// Fills the gradient of the output with standard normal numbers, a function of seed, global position and channel.
void seed_gradient(Stack& stack, std::uint64_t seed, int rank);

}  // namespace annulus::stack
