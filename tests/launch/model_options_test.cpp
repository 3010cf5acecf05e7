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
  AttentionOptions scores;
  scores.mask = mask;
  ModelSpec model = chosen_model(target, scores);
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
  EXPECT_FALSE(model.has(LayerKind::local));
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
    EXPECT_EQ(model.local_masks, preset.model.local_masks) << preset.name;
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
  scores.mask = causal();
  scores.softcap = 0;
  scores.softmax_scale = 0.5;
  const ModelSpec model = chosen_model(gemma, scores);
  EXPECT_EQ(model.attention.softcap, 0);
  EXPECT_EQ(model.attention.softmax_scale, 0.5);
}

TEST(ModelOptions, ReplaceOneRuleOfAMask) {
  const MaskSpec narrow{.causal = true, .window_size = {9, 0}};
  EXPECT_EQ(model_of({"--model", "mistral-7b"}, narrow).local_masks, std::vector{narrow});
  const MaskSpec with_sinks = model_of({"--model", "mistral-7b"}, {.causal = true, .sink_tokens = 4}).local_masks.front();
  EXPECT_EQ(with_sinks, (MaskSpec{.causal = true, .window_size = {4095, 0}, .sink_tokens = 4}));
  const ModelSpec open = model_of({"--model", "gemma3-4b"}, {.causal = false, .cu_seqlens = {0, 40, 100}});
  EXPECT_FALSE(open.local_masks.front().causal);
  EXPECT_EQ(open.attention.mask, (MaskSpec{.cu_seqlens = {0, 40, 100}}));
  EXPECT_EQ(open.local_masks.front().cu_seqlens, open.attention.mask.cu_seqlens);
}

TEST(ModelOptions, MakeLayersLocalByAWindow) {
  const MaskSpec chunked{.causal = true, .chunk_size = 8};
  EXPECT_FALSE(model_of({}, chunked).has(LayerKind::global));
  EXPECT_TRUE(model_of({"--pattern", "LG"}, chunked).has(LayerKind::global));
  EXPECT_THROW(model_of({"--pattern", "G"}, chunked), UsageError) << "the chunk would be ignored";
  EXPECT_THROW(model_of({"--model", "llama3-8b"}, chunked), UsageError) << "all its layers are global";
  EXPECT_EQ(model_of({"--model", "llama3-8b", "--pattern", "L"}, chunked).local_masks, std::vector{chunked});
}

std::vector<std::int64_t> windows_of(const ModelSpec& model) {
  std::vector<std::int64_t> windows;
  for (const MaskSpec& mask : model.local_masks) windows.push_back(mask.window_size.left + 1);
  return windows;
}

TEST(ModelOptions, GiveLayersOfAPatternTheirOwnWindows) {
  const ModelSpec own = model_of({"--pattern", "L512L4kG"});
  EXPECT_EQ(own.pattern, "LLG");
  EXPECT_EQ(windows_of(own), (std::vector<std::int64_t>{512, 4096}));
  const MaskSpec common{.causal = true, .window_size = {9, 0}, .sink_tokens = 2};
  const ModelSpec some = model_of({"--pattern", "LL7GL"}, common);
  EXPECT_EQ(windows_of(some), (std::vector<std::int64_t>{10, 7, 10}));
  for (const MaskSpec& mask : some.local_masks) EXPECT_EQ(mask.sink_tokens, 2);
  EXPECT_EQ(windows_of(model_of({"--model", "tiny-gemma3", "--pattern", "LL7G"})), (std::vector<std::int64_t>{32, 7}));
  EXPECT_THROW(model_of({"--pattern", "LL7G"}), UsageError) << "the first has none";
  EXPECT_THROW(model_of({"--pattern", "L5L7G"}, common), UsageError) << "the common window would be ignored";
  EXPECT_THROW(model_of({"--pattern", "L5"}, {.causal = false}), UsageError) << "it looks back only";
  EXPECT_THROW(model_of({"--pattern", "GL", "--layers", "1"}, common), UsageError) << "no layer comes to read the window";
  EXPECT_TRUE(model_of({"--pattern", "GL", "--layers", "2"}, common).has(LayerKind::local));
}

TEST(ModelOptions, MakeThePresetsLayersGlobalOnlyByPattern) {
  EXPECT_TRUE(model_of({"--model", "gemma3-4b", "--pattern", "G"}).local_masks.empty());
  ModelOptions mistral;
  mistral.preset = "mistral-7b";
  AttentionOptions open;
  open.mask = causal();
  open.window_given = true;  // --window-size -1,-1
  EXPECT_THROW(chosen_model(mistral, open), UsageError) << "it would change nothing";
}

TEST(ModelOptions, StretchPositions) {
  const ModelSpec yarn = model_of({"--rope-scaling", "yarn", "--rope-factor", "4", "--rope-original", "8k"});
  EXPECT_EQ(yarn.rope, (stack::RopeSpec{.scaling = RopeScaling::yarn, .factor = 4, .original = 8192}));
  const ModelSpec gemma = model_of({"--model", "gemma3-4b", "--rope-factor", "2", "--rope-theta", "5000"});
  EXPECT_EQ(gemma.rope, (stack::RopeSpec{.theta = 5000, .scaling = RopeScaling::linear, .factor = 2}));
  EXPECT_EQ(gemma.local_rope, (stack::RopeSpec{.theta = 5000})) << "nothing stretches them";
  const ModelSpec ntk = model_of({"--model", "gemma3-4b", "--rope-scaling", "ntk", "--rope-factor", "2"});
  EXPECT_EQ(ntk.rope, (stack::RopeSpec{.theta = 1e6, .scaling = RopeScaling::ntk, .factor = 2}));
  EXPECT_EQ(ntk.local_rope, (stack::RopeSpec{.theta = 10000}));
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
           {"--pattern", ""},
           {"--pattern", "G8"},
           {"--pattern", "8L"},
           {"--pattern", "L0"},
           {"--pattern", "L-3"},
           {"--pattern", "L8x"},
           {"--model", "gpt-oss-20b", "--rope-scaling", "none", "--rope-factor", "2"}}) {
    EXPECT_THROW(model_of(words), UsageError) << words.back();
  }
  EXPECT_NO_THROW(model_of({"--rope-scaling", "linear", "--rope-factor", "1"}));
}

}  // namespace
}  // namespace annulus::launch
