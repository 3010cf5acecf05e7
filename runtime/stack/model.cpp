/// Checks a model's shape and draws its weights.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/model.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "runtime/engine/call_check.hpp"
#include "runtime/stack/seeded.hpp"

namespace annulus::stack {
namespace {
enum Matrix : std::uint64_t { wq, wk, wv, wo, embedding, sinks };

void fill(float* matrix, std::int64_t rows, std::int64_t width, const Seeded& random, Workers& workers) {
  const double scale = 1 / std::sqrt(static_cast<double>(width));
  workers.for_each(rows, [&](std::int64_t row, int) {
    for (std::int64_t i = row * width; i < (row + 1) * width; ++i) {
      matrix[i] = static_cast<float>(scale * random.uniform(static_cast<std::uint64_t>(i)));
    }
  });
}

void check_pattern(const ModelSpec& model) {
  const std::string& pattern = model.pattern;
  if (pattern.empty() || pattern.find_first_not_of("LG") != std::string::npos) {
    throw UsageError("'" + pattern + "' is no pattern of layers (L is a local layer, G a global one); try LLLLLG");
  }
  const auto locals = static_cast<std::size_t>(std::count(pattern.begin(), pattern.end(), 'L'));
  const std::vector<MaskSpec>& masks = model.local_masks;
  const bool narrow = std::all_of(masks.begin(), masks.end(), [](const MaskSpec& mask) { return mask.is_local(); });
  if (locals > 0 && (masks.empty() || !narrow)) {
    throw UsageError("pattern " + pattern + " has local layers without a window or chunk (how far do they see?); "
                     "try --sliding-window 1024 or --chunk-size 1024");
  }
  if (locals == 0 && !masks.empty()) {
    throw UsageError("a window or chunk narrows local layers, of which pattern " + pattern + " has none; try --pattern L");
  }
  if (masks.size() > 1 && masks.size() != locals) {
    throw UsageError(std::to_string(masks.size()) + " masks for the " + std::to_string(locals) + " local layers of pattern " +
                     pattern + " (which has which?); try one for each, or one for all");
  }
  if (model.attention.mask.is_local()) {
    throw UsageError("a global layer has a window or a chunk (these make a layer local); try local_masks and pattern L");
  }
}

void check_residual(const ModelSpec& model) {
  if (model.kept() >= 0 && model.kept() <= 1) return;
  throw UsageError("a residual weight must lie in [0, 1] (x becomes alpha x + (1 - alpha) layer(x)); try 0.95");
}
}  // namespace

std::string_view name(LayerKind kind) { return kind == LayerKind::local ? "local" : "global"; }

LayerSpec ModelSpec::layer(std::int64_t index) const {
  if (kind(index) == LayerKind::global) return {LayerKind::global, attention, rope};
  const auto place = static_cast<std::ptrdiff_t>(static_cast<std::size_t>(index) % pattern.size());
  const auto before = static_cast<std::size_t>(std::count(pattern.begin(), pattern.begin() + place, 'L'));
  LayerSpec spec{LayerKind::local, attention, local_rope};
  spec.attention.mask = local_masks[before % local_masks.size()];
  return spec;
}

bool ModelSpec::has(LayerKind kind) const {
  const auto used = std::min(layers, static_cast<std::int64_t>(pattern.size()));
  return pattern.find(kind == LayerKind::local ? 'L' : 'G') < static_cast<std::size_t>(used);
}

LayerVariants::LayerVariants(const ModelSpec& model) {
  const auto used = std::min(model.layers, static_cast<std::int64_t>(model.pattern.size()));
  for (std::int64_t index = 0; index < used; ++index) {
    LayerSpec spec = model.layer(index);
    const auto same = [&](const LayerSpec& known) {
      return known.kind == spec.kind && known.attention.mask == spec.attention.mask;
    };
    const auto found = std::find_if(specs_.begin(), specs_.end(), same);
    of_.push_back(static_cast<std::size_t>(found - specs_.begin()));
    if (found == specs_.end()) specs_.push_back(std::move(spec));
  }
}

void check(const ModelSpec& model) {
  const AttentionSpec& shape = model.attention;
  check_pattern(model);
  check_residual(model);
  constexpr std::int64_t most_layers = 1'000'000;  // costs and reports keep a line for each
  if (model.layers < 1 || model.layers > most_layers) {
    throw UsageError("a stack of " + std::to_string(model.layers) + " layers (1 to 1000000 are possible); try --layers 2");
  }
  const LayerVariants variants(model);
  for (const LayerSpec& layer : variants.specs()) {
    check_spec(layer.attention);
    check(layer.rope);
  }
  if (shape.seq_q != shape.seq_k || shape.seq_q < 1) {
    throw UsageError("a stack attends to its own sequence of at least one token; seq_q must equal seq_k");
  }
  if (!shape.alibi_slopes.empty()) {
    throw UsageError("a stack takes no ALiBi slopes (its positions are rotary); try attend for them");
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
  LayerWeights weights{Buffer<float>(model.qkv_width() * width), Buffer<float>(width * width), {}, layer};
  fill(weights.qkv.data(), width, width, stream(wq), workers);
  fill(weights.qkv.data() + width * width, kv, width, stream(wk), workers);
  fill(weights.qkv.data() + (width + kv) * width, kv, width, stream(wv), workers);
  fill(weights.out.data(), width, width, stream(wo), workers);
  for (std::int64_t head = 0; model.attention.sink && head < model.attention.heads; ++head) {
    weights.sink.push_back(static_cast<float>(stream(sinks).uniform(static_cast<std::uint64_t>(head))));
  }
  return weights;
}

Buffer<float> embedding_table(const ModelSpec& model, Workers& workers) {
  Buffer<float> table(vocabulary * model.width());
  fill(table.data(), vocabulary, model.width(), Seeded(model.seed, {0, embedding}), workers);
  return table;
}

std::uint64_t layer_weight_bytes(const ModelSpec& model) {
  const std::int64_t sink_logits = model.attention.sink ? model.attention.heads : 0;
  return checked_product({model.qkv_width() + model.width(), model.width(), sizeof(float)}) +
         checked_product({sink_logits, sizeof(float)});
}

}  // namespace annulus::stack
