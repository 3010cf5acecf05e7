/// Declares the options of a model and lays them over a preset.
// SPDX-License-Identifier: Apache-2.0
#include "launch/model_options.hpp"

#include <fmt/format.h>

#include <array>

#include "kernels/base/error.hpp"
#include "runtime/stack/presets.hpp"

namespace annulus::launch {
namespace {

using stack::ModelSpec;
using stack::RopeScaling;
using stack::RopeSpec;

constexpr double largest_theta = 1e12;
constexpr double largest_factor = 1e6;

void add_layer_options(Options& options, ModelOptions& target) {
  options.value(
      "pattern", "WORD",
      [&target](const std::string& word) {
        if (word.find_first_not_of("LG") != std::string::npos) {
          throw UsageError(fmt::format("--pattern '{}' is no pattern (L is a local layer, G a global one); try LLLLLG", word));
        }
        target.pattern = word;
      },
      "kinds of the layers, repeated: L is local (with a window or a chunk), G global (default G)");
  options.real("residual-alpha", "A", target.residual_alpha, 0, 1,
               "x becomes A x + (1 - A) layer(x) (default: x + layer(x))");
}

void add_position_options(Options& options, ModelOptions& target) {
  options.real("rope-theta", "X", target.rope_theta, 1, largest_theta,
               "base of the rotary frequencies of all layers, above 1 (default 10000)");
  options.value(
      "rope-scaling", "WORD",
      [&target](const std::string& word) {
        target.rope_scaling = stack::parse_rope_scaling(word);
        if (!target.rope_scaling) {
          throw UsageError(fmt::format("--rope-scaling '{}' is unknown; try none, linear, ntk, yarn or llama3", word));
        }
      },
      "none|linear|ntk|yarn|llama3: how positions are stretched beyond the trained context");
  options.real("rope-factor", "X", target.rope_factor, 1, largest_factor, "how far they are stretched");
  options.size("rope-original", "N", target.rope_original, 1, "the context that the model was trained with (yarn, llama3)");
}

void set_shape(ModelSpec& model, const ModelOptions& options) {
  AttentionSpec& shape = model.attention;
  if (options.layers > 0) model.layers = options.layers;
  if (!options.pattern.empty()) model.pattern = options.pattern;
  if (options.heads > 0) shape.heads = options.heads;
  if (options.head_dim > 0) shape.head_dim = options.head_dim;
  if (options.kv_heads > 0) {
    shape.kv_heads = options.kv_heads;
  } else if (options.preset.empty()) {
    shape.kv_heads = shape.heads;
  }
  if (options.residual_alpha) model.residual_alpha = options.residual_alpha;
  model.seed = static_cast<std::uint64_t>(options.seed);
}

void set_scores(ModelSpec& model, const AttentionOptions& scores) {
  if (scores.softmax_scale) model.attention.softmax_scale = scores.softmax_scale;
  if (scores.softcap) model.attention.softcap = *scores.softcap;
}

/// Throws UsageError for rules that do not fit together; documents are checked when the lengths are known.
void check_rules(MaskSpec mask) {
  mask.cu_seqlens.clear();
  const Mask fits(std::move(mask), 0, 0);
}

/// Rules that no layer would obey, or that do not fit together, are refused.
void check_masks(const ModelSpec& model, const MaskSpec& asked) {
  const bool narrows = asked.is_local() || asked.sink_tokens > 0 || asked.global_tokens > 0 || asked.stride > 0;
  const bool has_local = model.pattern.find('L') != std::string::npos;
  if (narrows && !has_local) {
    check_rules(asked);  // sinks and the like without a window are wrong in any pattern
    throw UsageError(fmt::format("a window, chunk, sinks, global tokens or a stride with --pattern {} (only local layers read "
                                 "them); try a pattern such as LLLLLG",
                                 model.pattern));
  }
  if (has_local) check_rules(model.local_mask);
}

void set_masks(ModelSpec& model, const ModelOptions& options, const MaskSpec& mask) {
  MaskSpec& local = model.local_mask;
  model.attention.mask = {.causal = mask.causal, .cu_seqlens = mask.cu_seqlens};
  local.causal = mask.causal;
  local.cu_seqlens = mask.cu_seqlens;
  if (mask.window_size.is_set()) local.window_size = mask.window_size;
  if (mask.chunk_size > 0) local.chunk_size = mask.chunk_size;
  if (mask.sink_tokens > 0) local.sink_tokens = mask.sink_tokens;
  if (mask.global_tokens > 0) local.global_tokens = mask.global_tokens;
  if (mask.stride > 0) local.stride = mask.stride;
  if (options.preset.empty() && options.pattern.empty() && local.is_local()) model.pattern = "L";
}

void set_positions(RopeSpec& rope, const ModelOptions& options) {
  if (options.rope_theta) rope.theta = *options.rope_theta;
  if (options.rope_scaling) rope.scaling = *options.rope_scaling;
  if (rope.scaling == RopeScaling::none) {
    rope.factor = 1;
  } else if (options.rope_factor) {
    rope.factor = *options.rope_factor;
  }
  if (options.rope_original > 0) rope.original = options.rope_original;
}

/// A rope option that the chosen positions do not read would be ignored.
void check_positions(const ModelSpec& model, const ModelOptions& options) {
  const std::array ropes{model.rope, model.local_rope};
  const auto any = [&](auto&& holds) { return holds(ropes[0]) || holds(ropes[1]); };
  const bool stretched = any([](const RopeSpec& rope) { return rope.scaling != RopeScaling::none; });
  if (options.rope_factor && !stretched) {
    throw UsageError("--rope-factor without a scaling (nothing says how to stretch positions); try --rope-scaling yarn");
  }
  if (options.rope_original > 0 && !any([](const RopeSpec& rope) { return rope.reads_original(); })) {
    throw UsageError("--rope-original is for yarn and llama3 (no other scaling reads it); try --rope-scaling yarn");
  }
  const bool changed = options.rope_factor || any([](const RopeSpec& rope) { return rope.factor != 1; });
  if (options.rope_scaling && stretched && !changed) {
    throw UsageError(fmt::format("--rope-scaling {} without a factor (it would change nothing); try --rope-factor 8",
                                 stack::name(*options.rope_scaling)));
  }
}

ModelSpec default_model() {
  ModelSpec model;
  model.attention.heads = 4;
  model.attention.head_dim = 64;
  return model;
}

}  // namespace

void add_model_options(Options& options, ModelOptions& target) {
  options.value(
      "model", "PRESET",
      [&target](const std::string& word) {
        (void)stack::preset(word);
        target.preset = word;
      },
      "attention of a model with seeded weights; other options replace its figures. One of " + stack::preset_names());
  add_layer_options(options, target);
  options.size("layers", "L", target.layers, 1, "attention layers of the stack (default 2)");
  options.size("heads", "H", target.heads, 1, "query heads (default 4)");
  options.size("kv-heads", "K", target.kv_heads, 1, "key and value heads, a divisor of the heads (default: as heads)");
  options.size("head-dim", "D", target.head_dim, 1, "channels of a head, 1 to 256 (default 64)");
  add_position_options(options, target);
  options.size("seed", "N", target.seed, 0, "of the weights, the sampled rows and the output gradient (default 0)");
}

stack::ModelSpec chosen_model(const ModelOptions& options, const MaskSpec& mask, const AttentionOptions& scores) {
  ModelSpec model = options.preset.empty() ? default_model() : stack::preset(options.preset);
  set_shape(model, options);
  set_scores(model, scores);
  set_masks(model, options, mask);
  check_masks(model, mask);
  set_positions(model.rope, options);
  set_positions(model.local_rope, options);
  check_positions(model, options);
  return model;
}

}  // namespace annulus::launch
