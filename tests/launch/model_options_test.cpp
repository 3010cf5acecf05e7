/// What becomes of a preset under the options of a model.
// SPDX-License-Identifier: Apache-2.0
#include "launch/model_options.hpp"

#include <gtest/gtest.h>

#include <functional>

#include "kernels/base/error.hpp"
#include "runtime/stack/presets.hpp"

namespace annulus::launch {
namespace {

using stack::LayerKind;
using stack::ModelSpec;
using stack::RopeScaling;

constexpr MaskSpec causal() { return {.causal = true}; }

ModelSpec model_of(const std::vector<std::string>& words, const MaskSpec& mask = causal()) {
  ModelOptions target;
  Options options("test", "");
  add_model_options(options, target);
  options.parse(words);
  ModelSpec model = chosen_model(target, mask, {});
  model.attention.seq_q = model.attention.seq_k = 100;
  stack::check(model);
  return model;
}

TEST(ModelOptions, MakeTwoGlobalLayersOfNothing) {
  const ModelSpec model = model_of({});
  EXPECT_EQ(model.layers, 2);
  EXPECT_EQ(model.attention.heads, 4);
  EXPECT_EQ(model.attention.kv_heads, 4);
  EXPECT_EQ(model.attention.head_dim, 64);
  EXPECT_EQ(model.kinds(), std::vector{LayerKind::global});
  EXPECT_EQ(model_of({"--heads", "6"}).attention.kv_heads, 6);
}

TEST(ModelOptions, TakeAPresetAsItIs) {
  for (const stack::Preset& preset : stack::presets()) {
    const ModelSpec model = model_of({"--model", std::string(preset.name)});
    EXPECT_EQ(model.layers, preset.model.layers) << preset.name;
    EXPECT_EQ(model.pattern, preset.model.pattern) << preset.name;
    EXPECT_EQ(model.attention.kv_heads, preset.model.attention.kv_heads) << preset.name;
    EXPECT_EQ(model.attention.softcap, preset.model.attention.softcap) << preset.name;
    EXPECT_EQ(model.attention.softmax_scale, preset.model.attention.softmax_scale) << preset.name;
    EXPECT_EQ(model.attention.sink, preset.model.attention.sink) << preset.name;
    EXPECT_EQ(model.local_mask, preset.model.local_mask) << preset.name;
    EXPECT_EQ(model.rope, preset.model.rope) << preset.name;
    EXPECT_EQ(model.local_rope, preset.model.local_rope) << preset.name;
  }
}

TEST(ModelOptions, ReplaceFiguresOfAPreset) {
  const ModelSpec model = model_of({"--model", "gpt-oss-20b", "--heads", "12", "--kv-heads", "3", "--head-dim", "32",
                                    "--layers", "5", "--pattern", "LLG", "--residual-alpha", "0.9"});
  EXPECT_EQ(model.attention.heads, 12);
  EXPECT_EQ(model.attention.kv_heads, 3);
  EXPECT_EQ(model.attention.head_dim, 32);
  EXPECT_EQ(model.layers, 5);
  EXPECT_EQ(model.pattern, "LLG");
  EXPECT_EQ(model.residual_alpha, 0.9);
  EXPECT_TRUE(model.attention.sink);
}

TEST(ModelOptions, ReplaceScoresOfAPreset) {
  ModelOptions gemma;
  gemma.preset = "gemma2-9b";
  AttentionOptions scores;
  scores.softcap = 0;
  scores.softmax_scale = 0.5;
  const ModelSpec model = chosen_model(gemma, causal(), scores);
  EXPECT_EQ(model.attention.softcap, 0);
  EXPECT_EQ(model.attention.softmax_scale, 0.5);
}

TEST(ModelOptions, ReplaceOneRuleOfAMask) {
  const MaskSpec narrow{.causal = true, .window_size = {9, 0}};
  EXPECT_EQ(model_of({"--model", "mistral-7b"}, narrow).local_mask, narrow);
  const MaskSpec with_sinks = model_of({"--model", "mistral-7b"}, {.causal = true, .sink_tokens = 4}).local_mask;
  EXPECT_EQ(with_sinks, (MaskSpec{.causal = true, .window_size = {4095, 0}, .sink_tokens = 4}));
  const ModelSpec open = model_of({"--model", "gemma3-4b"}, {.causal = false, .cu_seqlens = {0, 40, 100}});
  EXPECT_FALSE(open.local_mask.causal);
  EXPECT_EQ(open.attention.mask, (MaskSpec{.cu_seqlens = {0, 40, 100}}));
  EXPECT_EQ(open.local_mask.cu_seqlens, open.attention.mask.cu_seqlens);
}

TEST(ModelOptions, MakeLayersLocalByAWindow) {
  const MaskSpec chunked{.causal = true, .chunk_size = 8};
  EXPECT_EQ(model_of({}, chunked).kinds(), std::vector{LayerKind::local});
  EXPECT_EQ(model_of({"--pattern", "LG"}, chunked).kinds(), (std::vector{LayerKind::global, LayerKind::local}));
  EXPECT_THROW(model_of({"--pattern", "G"}, chunked), UsageError) << "the chunk would be ignored";
  EXPECT_THROW(model_of({"--model", "llama3-8b"}, chunked), UsageError) << "all its layers are global";
  EXPECT_EQ(model_of({"--model", "llama3-8b", "--pattern", "L"}, chunked).local_mask, chunked);
}

TEST(ModelOptions, StretchPositions) {
  const ModelSpec yarn = model_of({"--rope-scaling", "yarn", "--rope-factor", "4", "--rope-original", "8k"});
  EXPECT_EQ(yarn.rope, (stack::RopeSpec{.scaling = RopeScaling::yarn, .factor = 4, .original = 8192}));
  const ModelSpec gemma = model_of({"--model", "gemma3-4b", "--rope-factor", "2", "--rope-theta", "5000"});
  EXPECT_EQ(gemma.rope, (stack::RopeSpec{.theta = 5000, .scaling = RopeScaling::linear, .factor = 2}));
  EXPECT_EQ(gemma.local_rope, (stack::RopeSpec{.theta = 5000})) << "nothing stretches them";
  const ModelSpec plain = model_of({"--model", "gpt-oss-20b", "--rope-scaling", "none"});
  EXPECT_EQ(plain.rope.factor, 1);
  EXPECT_EQ(plain.rope.scaling, RopeScaling::none);
}

TEST(ModelOptions, RefuseWhatMakesNoModelOrChangesNothing) {
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"--rope-factor", "2"},
           {"--rope-original", "4096"},
           {"--rope-scaling", "linear"},
           {"--rope-scaling", "linear", "--rope-factor", "2", "--rope-original", "4096"},
           {"--rope-scaling", "yarn", "--rope-factor", "2"},
           {"--rope-theta", "1"},
           {"--rope-scaling", "su"},
           {"--residual-alpha", "1.5"},
           {"--pattern", "LX"},
           {"--model", "gpt-oss-20b", "--rope-scaling", "none", "--rope-factor", "2"}}) {
    EXPECT_THROW(model_of(words), UsageError) << words.back();
  }
  EXPECT_NO_THROW(model_of({"--rope-scaling", "linear", "--rope-factor", "1"}));
}

}  // namespace
}  // namespace annulus::launch
