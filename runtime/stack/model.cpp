/// Checks a model's shape and draws its weights.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/model.hpp"

#include <cmath>
#include <limits>
#include <string>

#include "runtime/engine/call_check.hpp"
#include "runtime/stack/seeded.hpp"

namespace annulus::stack {
namespace {
enum Matrix : std::uint64_t { wq, wk, wv, wo, embedding };

void fill(float* matrix, std::int64_t rows, std::int64_t width, const Seeded& random, Workers& workers) {
  const double scale = 1 / std::sqrt(static_cast<double>(width));
  workers.for_each(rows, [&](std::int64_t row, int) {
    for (std::int64_t i = row * width; i < (row + 1) * width; ++i) {
      matrix[i] = static_cast<float>(scale * random.uniform(static_cast<std::uint64_t>(i)));
    }
  });
}
}  // namespace

void check(const ModelSpec& model) {
  const AttentionSpec& shape = model.attention;
  check_spec(shape);
  constexpr std::int64_t most_layers = 1'000'000;  // costs and reports keep a line for each
  if (model.layers < 1 || model.layers > most_layers) {
    throw UsageError("a stack of " + std::to_string(model.layers) + " layers (1 to 1000000 are possible); try --layers 2");
  }
  if (shape.seq_q != shape.seq_k || shape.seq_q < 1) {
    throw UsageError("a stack attends to its own sequence of at least one token; seq_q must equal seq_k");
  }
  if (!shape.alibi_slopes.empty() || shape.sink) {
    throw UsageError("a stack takes neither ALiBi slopes (its positions are rotary) nor a learned sink");
  }
  if (shape.dtype == DType::f64) throw UsageError("a stack holds f32, bf16 or f16, not f64; try --dtype f32");
  const std::uint64_t widest = checked_product({shape.heads, shape.head_dim, 3});
  if (widest > static_cast<std::uint64_t>(std::numeric_limits<int>::max())) {
    throw UsageError(std::to_string(shape.heads) + " heads of " + std::to_string(shape.head_dim) +
                     " make a model too wide for its projections (BLAS extents are 32-bit); try fewer heads");
  }
}

LayerWeights layer_weights(const ModelSpec& model, std::int64_t layer, Workers& workers) {
  const std::int64_t width = model.width();
  const std::int64_t kv = model.kv_width();
  const auto stream = [&](Matrix matrix) { return Seeded(model.seed, {static_cast<std::uint64_t>(layer), matrix}); };
  LayerWeights weights{Buffer<float>(model.qkv_width() * width), Buffer<float>(width * width)};
  fill(weights.qkv.data(), width, width, stream(wq), workers);
  fill(weights.qkv.data() + width * width, kv, width, stream(wk), workers);
  fill(weights.qkv.data() + (width + kv) * width, kv, width, stream(wv), workers);
  fill(weights.out.data(), width, width, stream(wo), workers);
  return weights;
}

Buffer<float> embedding_table(const ModelSpec& model, Workers& workers) {
  Buffer<float> table(vocabulary * model.width());
  fill(table.data(), vocabulary, model.width(), Seeded(model.seed, {0, embedding}), workers);
  return table;
}

std::uint64_t layer_weight_bytes(const ModelSpec& model) {
  return checked_product({model.qkv_width() + model.width(), model.width(), sizeof(float)});
}

}  // namespace annulus::stack
