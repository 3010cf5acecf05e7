/// A function per family, a row per model. Names in quotes are keys of the model's config.json.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/presets.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/base/error.hpp"

namespace annulus::stack {
namespace {

/// "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim".
struct Shape {
  std::int64_t layers;
  std::int64_t heads;
  std::int64_t kv_heads;
  std::int64_t head_dim;
};

/// Global layers with plain rotary positions.
ModelSpec plain(const Shape& shape, double theta) {
  ModelSpec model;
  model.layers = shape.layers;
  model.attention.heads = shape.heads;
  model.attention.kv_heads = shape.kv_heads;
  model.attention.head_dim = shape.head_dim;
  model.attention.mask.causal = true;
  model.rope.theta = model.local_rope.theta = theta;
  return model;
}

/// Layers in the order of the pattern; local ones see a token and the sliding_window - 1 before it.
ModelSpec windowed(ModelSpec model, const char* pattern, std::int64_t sliding_window) {
  model.pattern = pattern;
  model.local_masks = {{.causal = true, .window_size = {sliding_window - 1, 0}}};
  return model;
}

double scale_of(double query_pre_attn_scalar) { return 1 / std::sqrt(query_pre_attn_scalar); }

/// Local layers first, as transformers' modeling_gemma2.py has it; "attn_logit_softcapping".
ModelSpec gemma2(const Shape& shape, std::int64_t sliding_window, double query_pre_attn_scalar) {
  ModelSpec model = windowed(plain(shape, 10000), "LG", sliding_window);
  model.attention.softmax_scale = scale_of(query_pre_attn_scalar);
  model.attention.softcap = 50;
  return model;
}

/// "sliding_window_pattern" 6, "rope_local_base_freq" 10000, "rope_theta" 1000000, "rope_scaling" linear by 8.
ModelSpec gemma3(const Shape& shape, std::int64_t sliding_window, double query_pre_attn_scalar) {
  ModelSpec model = windowed(plain(shape, 10000), "LLLLLG", sliding_window);
  model.attention.softmax_scale = scale_of(query_pre_attn_scalar);
  model.rope = {.theta = 1e6, .scaling = RopeScaling::linear, .factor = 8};
  return model;
}

/// "layer_types" from sliding_attention on; one learned sink per head; the same positions in both kinds of layers.
ModelSpec gpt_oss(const Shape& shape, std::int64_t sliding_window) {
  ModelSpec model = windowed(plain(shape, 150000), "LG", sliding_window);
  model.attention.sink = true;
  model.rope = {.theta = 150000, .scaling = RopeScaling::yarn, .factor = 32, .original = 4096};
  model.local_rope = model.rope;
  return model;
}

}  // namespace

const std::vector<Preset>& presets() {
  static const std::vector<Preset> all{
      // mistralai/Mistral-7B-v0.1 config.json; later versions have no window
      {"mistral-7b", windowed(plain({32, 32, 8, 128}, 10000), "L", 4096)},
      // google/gemma-2-9b config.json: "hidden_size" 3584
      {"gemma2-9b", gemma2({42, 16, 8, 256}, 4096, 256)},
      // google/gemma-3-4b-pt config.json ("text_config", rest: defaults of Gemma3TextConfig): "hidden_size" 2560
      {"gemma3-4b", gemma3({34, 8, 4, 256}, 1024, 256)},
      // google/gemma-3-27b-pt config.json ("text_config"): "hidden_size" 5376
      {"gemma3-27b", gemma3({62, 32, 16, 128}, 1024, 168)},
      // openai/gpt-oss-20b config.json: "hidden_size" 2880
      {"gpt-oss-20b", gpt_oss({24, 64, 8, 64}, 128)},
      // meta-llama/Llama-2-70b-hf config.json
      {"llama2-70b", plain({80, 64, 8, 128}, 10000)},
      // meta-llama/Meta-Llama-3-8B config.json
      {"llama3-8b", plain({32, 32, 8, 128}, 500000)},
      // meta-llama/Meta-Llama-3-70B config.json
      {"llama3-70b", plain({80, 64, 8, 128}, 500000)},
      // Ours: the heads share as in the model they are named after, shapes and windows fit a laptop.
      {"tiny-mistral", windowed(plain({4, 4, 1, 16}, 10000), "L", 64)},
      {"tiny-gemma3", gemma3({6, 2, 1, 32}, 32, 32)},
      {"tiny-gpt-oss", gpt_oss({4, 8, 1, 16}, 16)},
      {"tiny-llama", plain({2, 4, 1, 32}, 500000)},
  };
  return all;
}

std::string preset_names() {
  std::string names;
  for (const Preset& preset : presets()) names += (names.empty() ? "" : ", ") + std::string(preset.name);
  return names;
}

const ModelSpec& preset(std::string_view name) {
  const auto found = std::find_if(presets().begin(), presets().end(), [&](const Preset& p) { return p.name == name; });
  if (found != presets().end()) return found->model;
  throw UsageError("no model '" + std::string(name) + "' is known (its shape would be made up); try one of " +
                   preset_names() + ", or --heads, --head-dim, --layers and --pattern");
}

}  // namespace annulus::stack
