/// The model that a stack runs: its shape, and its seeded, frozen weights.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/buffer.hpp"
#include "kernels/base/workers.hpp"
#include "runtime/engine/ring_attention.hpp"
#include "runtime/stack/rope.hpp"

namespace annulus::stack {

/// A global layer attends to all that causality and documents allow, a local one to a window or a chunk of it.
enum class LayerKind : std::uint8_t { global, local };

std::string_view name(LayerKind kind);

/// What one layer computes.
struct LayerSpec {
  LayerKind kind = LayerKind::global;
  AttentionSpec attention;
  RopeSpec rope;
};

/// Layers of pre-norm residual attention, global and local ones in the order of a repeated pattern:
///   n = rms_norm(x);  y = Wo attention(rope(Wq n), rope(Wk n), Wv n);  x = x + y,  or alpha x + (1 - alpha) y
/// on x [batch, seq, width] in the dtype of `attention`, rounded once per layer; sums in between are f32. There are no
/// MLPs, and width is heads * head_dim also for models that publish another hidden size.
struct ModelSpec {
  AttentionSpec attention;    ///< of global layers; seq_q == seq_k; no ALiBi (positions are rotary); sink: seeded logits
  /// Of the pattern's local layers, which else equal the global ones: one for all of them, or one for each in turn.
  std::vector<MaskSpec> local_masks{};
  RopeSpec rope{};            ///< of global layers
  RopeSpec local_rope{};
  std::string pattern = "G";  ///< 'L' or 'G' for each layer, repeated
  std::optional<double> residual_alpha{};  ///< in [0, 1]; empty: plain addition
  std::int64_t layers = 2;
  std::uint64_t seed = 0;  ///< of the weights

  std::int64_t width() const { return attention.heads * attention.head_dim; }
  std::int64_t kv_width() const { return attention.kv_heads * attention.head_dim; }
  std::int64_t qkv_width() const { return width() + 2 * kv_width(); }  ///< at least width()

  LayerKind kind(std::int64_t index) const {
    return pattern[static_cast<std::size_t>(index) % pattern.size()] == 'L' ? LayerKind::local : LayerKind::global;
  }
  LayerSpec layer(std::int64_t index) const;
  /// One of layers [0, layers) is of that kind.
  bool has(LayerKind kind) const;

  /// x becomes kept() * x + added() * y.
  double kept() const { return residual_alpha.value_or(1); }
  double added() const { return residual_alpha ? 1 - *residual_alpha : 1; }
};

/// The different layers among those of a model: layers of one variant have the same mask and positions, and share what is
/// made once for them.
class LayerVariants {
 public:
  explicit LayerVariants(const ModelSpec& model);

  const std::vector<LayerSpec>& specs() const { return specs_; }  ///< by variant, in the order in which they appear
  std::size_t of(std::int64_t layer) const { return of_[static_cast<std::size_t>(layer) % of_.size()]; }
  const LayerSpec& spec(std::int64_t layer) const { return specs_[of(layer)]; }

 private:
  std::vector<LayerSpec> specs_;
  std::vector<std::size_t> of_;  ///< by place in the pattern
};

inline constexpr std::int64_t vocabulary = 256;  ///< a token is a byte

/// Throws UsageError for a shape that no stack has.
void check(const ModelSpec& model);

/// Weights of one layer, uniform, matrices with variance 1/width; a function of (seed, layer, matrix, row, column) alone, so a
/// layer's weights do not depend on rank counts, layouts or the layers before it.
struct LayerWeights {
  Buffer<float> qkv;        ///< [qkv_width][width]: rows of Wq, then Wk, then Wv
  Buffer<float> out;        ///< [width][width]
  std::vector<float> sink;  ///< [heads] if attention.sink, else empty: variance 1, as scores have
  std::int64_t layer = 0;   ///< whose they are
};
LayerWeights layer_weights(const ModelSpec& model, std::int64_t layer, Workers& workers);
/// [vocabulary][width], scaled as the weights.
Buffer<float> embedding_table(const ModelSpec& model, Workers& workers);

/// Bytes of the weights that a rank holds at a time: one layer's.
std::uint64_t layer_weight_bytes(const ModelSpec& model);

}  // namespace annulus::stack
