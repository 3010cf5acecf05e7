/// Declares the options of a model and lays them over a preset.
// SPDX-License-Identifier: Apache-2.0
#include "launch/model_options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "kernels/base/error.hpp"
#include "launch/numbers.hpp"
#include "runtime/stack/presets.hpp"

namespace annulus::launch {
namespace {

using stack::ModelSpec;
using stack::RopeScaling;
using stack::RopeSpec;

constexpr double largest_theta = 1e12;
constexpr double largest_factor = 1e6;

[[noreturn]] void refuse_pattern(const std::string& word) {
  throw UsageError(fmt::format("--pattern '{}' is no pattern (L is a local layer, G a global one, L512 has a window of 512); "
                               "try LLLLLG",
                               word));
}

void add_layer_options(Options& options, ModelOptions& target) {
  options.value(
      "pattern", "WORD", [&target](const std::string& word) { set_pattern(target, word); },
      "kinds of the layers, repeated: L is local (with a window or a chunk), G global (default G); a number behind an L is "
      "the sliding window of that layer, as in L512L4kG");
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
      "none|linear|ntk|yarn|llama3: how positions are stretched beyond the trained context (of a model that stretches "
      "them in global layers alone: there)");
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

bool has_local(const ModelSpec& model) { return model.pattern.find('L') != std::string::npos; }

/// False if the stack ends before its pattern comes to a local layer.
bool runs_local(const ModelSpec& model) {
  return has_local(model) && static_cast<std::int64_t>(model.pattern.find('L')) < model.layers;
}

/// The rule of local layers: what the preset has, but for what was asked for.
MaskSpec local_rule(const ModelSpec& model, const MaskSpec& asked) {
  MaskSpec rule = model.local_masks.empty() ? MaskSpec{} : model.local_masks.front();
  rule.causal = asked.causal;
  rule.cu_seqlens = asked.cu_seqlens;
  if (asked.window_size.is_set()) rule.window_size = asked.window_size;
  if (asked.chunk_size > 0) rule.chunk_size = asked.chunk_size;
  if (asked.sink_tokens > 0) rule.sink_tokens = asked.sink_tokens;
  if (asked.global_tokens > 0) rule.global_tokens = asked.global_tokens;
  if (asked.stride > 0) rule.stride = asked.stride;
  return rule;
}

/// Rules that no layer would obey are refused, and a window that is opened where something must narrow a layer.
void check_asked(const ModelSpec& model, const ModelOptions& options, const AttentionOptions& scores) {
  const MaskSpec& asked = scores.mask;
  const bool narrows = asked.is_local() || asked.sink_tokens > 0 || asked.global_tokens > 0 || asked.stride > 0;
  if (narrows && !runs_local(model)) {
    if (!has_local(model)) check_rules(asked);  // sinks and the like without a window are wrong in any pattern
    throw UsageError(fmt::format("a window, chunk, sinks, global tokens or a stride with --pattern {} and {} layers (only local "
                                 "layers read them); try a pattern such as LLLLLG",
                                 model.pattern, model.layers));
  }
  const bool all_have_windows = !options.windows.empty() && std::ranges::find(options.windows, 0) == options.windows.end();
  if ((asked.window_size.is_set() || scores.window_given) && all_have_windows) {
    throw UsageError("a window beside a pattern whose local layers all have their own (no layer would read it); try one of them");
  }
  const bool opens = scores.window_given && !asked.window_size.is_set();
  if (opens && has_local(model)) {
    throw UsageError(fmt::format("--window-size -1,-1 with local layers in pattern {} (open to both sides they are global); "
                                 "try --pattern G",
                                 model.pattern));
  }
}

void set_masks(ModelSpec& model, const ModelOptions& options, const AttentionOptions& scores) {
  const MaskSpec& asked = scores.mask;
  const MaskSpec common = local_rule(model, asked);
  if (options.preset.empty() && options.pattern.empty() && common.is_local()) model.pattern = "L";
  check_asked(model, options, scores);
  model.attention.mask = {.causal = asked.causal, .cu_seqlens = asked.cu_seqlens};
  model.local_masks.clear();
  if (!has_local(model)) return;
  const bool varied = std::ranges::any_of(options.windows, [](std::int64_t window) { return window > 0; });
  if (varied && !asked.causal) {
    throw UsageError("windows in --pattern with --no-causal (they look back only); try --window-size L,R");
  }
  model.local_masks.assign(varied ? options.windows.size() : 1, common);
  for (std::size_t i = 0; varied && i < options.windows.size(); ++i) {
    if (options.windows[i] > 0) model.local_masks[i].window_size = {options.windows[i] - 1, 0};
  }
  for (const MaskSpec& mask : model.local_masks) check_rules(mask);
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

/// As Gemma 3 does: its windows are shorter than the context that it was trained with.
bool stretches_global_layers_alone(const ModelSpec& model) {
  return model.rope.scaling != RopeScaling::none && model.local_rope.scaling == RopeScaling::none;
}

ModelOptions without_scaling(ModelOptions options) {
  options.rope_scaling.reset();
  options.rope_original = 0;
  return options;
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

void set_pattern(ModelOptions& target, const std::string& word) {
  target.pattern.clear();
  target.windows.clear();
  for (std::size_t at = 0; at < word.size();) {
    const std::size_t next = std::min(word.find_first_of("LG", at + 1), word.size());
    const std::string window = word.substr(at + 1, next - at - 1);
    if (word[at] != 'L' && (word[at] != 'G' || !window.empty())) refuse_pattern(word);
    if (word[at] == 'L') target.windows.push_back(window.empty() ? 0 : parse_size("--pattern", window, 1));
    target.pattern += word[at];
    at = next;
  }
  if (target.pattern.empty()) refuse_pattern(word);
}

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

stack::ModelSpec chosen_model(const ModelOptions& options, const AttentionOptions& scores) {
  ModelSpec model = options.preset.empty() ? default_model() : stack::preset(options.preset);
  set_shape(model, options);
  set_scores(model, scores);
  set_masks(model, options, scores);
  set_positions(model.local_rope, stretches_global_layers_alone(model) ? without_scaling(options) : options);
  set_positions(model.rope, options);
  check_positions(model, options);
  return model;
}

void check_halo(stack::LocalHalo wanted, bool has_local) {
  if (wanted == stack::LocalHalo::automatic || has_local) return;
  throw UsageError(fmt::format("--local-halo {} without local layers (nothing would read a halo); try a window, or auto",
                               stack::name(wanted)));
}

}  // namespace annulus::launch
