/// The model that a stack runs: its shape, and its seeded, frozen weights.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/base/buffer.hpp"
#include "kernels/base/workers.hpp"
#include "runtime/engine/ring_attention.hpp"

namespace annulus::stack {

/// `layers` equal layers of pre-norm residual attention:
///   n = rms_norm(x);  x = x + Wo attention(rope(Wq n), rope(Wk n), Wv n)
/// on x [batch, seq, width] in the dtype of `attention`, rounded once per layer; sums in between are f32.
struct ModelSpec {
  AttentionSpec attention;  ///< seq_q == seq_k; no ALiBi (positions are rotary) and no learned sink
  std::int64_t layers = 2;
  std::uint64_t seed = 0;  ///< of the weights

  std::int64_t width() const { return attention.heads * attention.head_dim; }
  std::int64_t kv_width() const { return attention.kv_heads * attention.head_dim; }
  std::int64_t qkv_width() const { return width() + 2 * kv_width(); }
};

inline constexpr std::int64_t vocabulary = 256;  ///< a token is a byte

/// Throws UsageError for a shape that no stack has.
void check(const ModelSpec& model);

/// Weights of one layer, uniform with variance 1/width; a function of (seed, layer, matrix, row, column) alone, so a
/// layer's weights do not depend on rank counts, layouts or the layers before it.
struct LayerWeights {
  Buffer<float> qkv;  ///< [qkv_width][width]: rows of Wq, then Wk, then Wv
  Buffer<float> out;  ///< [width][width]
};
LayerWeights layer_weights(const ModelSpec& model, std::int64_t layer, Workers& workers);
/// [vocabulary][width], scaled as the weights.
Buffer<float> embedding_table(const ModelSpec& model, Workers& workers);

/// Bytes of the weights that a rank holds at a time: one layer's.
std::uint64_t layer_weight_bytes(const ModelSpec& model);

}  // namespace annulus::stack
