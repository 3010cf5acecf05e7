/// Presets make models that a stack runs, with the figures that were published.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/presets.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace annulus::stack {
namespace {

ModelSpec of_length(ModelSpec model, std::int64_t seq_len) {
  model.attention.seq_q = model.attention.seq_k = seq_len;
  return model;
}

/// -1: everything.
std::int64_t look_back(const ModelSpec& model) {
  return model.local_masks.empty() ? -1 : model.local_masks.front().window_size.left;
}

TEST(Presets, AreModelsThatAStackRuns) {
  for (const Preset& preset : presets()) {
    const ModelSpec& model = preset.model;
    EXPECT_NO_THROW(check(of_length(model, 100))) << preset.name;
    EXPECT_EQ(model.attention.heads % model.attention.kv_heads, 0) << preset.name;
    EXPECT_EQ(!model.local_masks.empty(), model.pattern.find('L') != std::string::npos) << preset.name;
    EXPECT_TRUE(model.attention.mask.causal) << preset.name;
    EXPECT_GE(model.layers, static_cast<std::int64_t>(model.pattern.size())) << preset.name;
  }
}

/// num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim, sliding_window (0: none), local layers,
/// rope_theta of global and of local layers, query_pre_attn_scalar.
struct Published {
  std::string_view name;
  std::int64_t layers, heads, kv_heads, head_dim, sliding_window, local_layers;
  double theta, local_theta, scalar;
};

const std::vector<Published> published{
    {"mistral-7b", 32, 32, 8, 128, 4096, 32, 1e4, 1e4, 128},   {"gemma2-9b", 42, 16, 8, 256, 4096, 21, 1e4, 1e4, 256},
    {"gemma3-4b", 34, 8, 4, 256, 1024, 29, 1e6, 1e4, 256},     {"gemma3-27b", 62, 32, 16, 128, 1024, 52, 1e6, 1e4, 168},
    {"gpt-oss-20b", 24, 64, 8, 64, 128, 12, 15e4, 15e4, 64},   {"llama2-70b", 80, 64, 8, 128, 0, 0, 1e4, 1e4, 128},
    {"llama3-8b", 32, 32, 8, 128, 0, 0, 5e5, 5e5, 128},        {"llama3-70b", 80, 64, 8, 128, 0, 0, 5e5, 5e5, 128}};

TEST(Presets, HaveThePublishedFigures) {
  for (const Published& expected : published) {
    const ModelSpec& model = preset(expected.name);
    const AttentionSpec& shape = model.attention;
    std::int64_t local = 0;
    for (std::int64_t i = 0; i < model.layers; ++i) local += model.kind(i) == LayerKind::local ? 1 : 0;
    EXPECT_EQ(model.layers, expected.layers) << expected.name;
    EXPECT_EQ(shape.heads, expected.heads) << expected.name;
    EXPECT_EQ(shape.kv_heads, expected.kv_heads) << expected.name;
    EXPECT_EQ(shape.head_dim, expected.head_dim) << expected.name;
    EXPECT_EQ(look_back(model), expected.sliding_window - 1) << expected.name << ": it counts itself";
    EXPECT_EQ(local, expected.local_layers) << expected.name;
    EXPECT_EQ(model.rope.theta, expected.theta) << expected.name;
    EXPECT_EQ(model.local_rope.theta, expected.local_theta) << expected.name;
    const double scale = 1 / std::sqrt(expected.scalar);
    EXPECT_DOUBLE_EQ(shape.softmax_scale.value_or(1 / std::sqrt(static_cast<double>(shape.head_dim))), scale)
        << expected.name;
    EXPECT_EQ(shape.softcap, expected.name == "gemma2-9b" ? 50 : 0) << expected.name;
    EXPECT_EQ(shape.sink, expected.name == "gpt-oss-20b") << expected.name;
  }
}

TEST(Presets, StretchThePositionsThatArePublishedAsStretched) {
  for (const char* name : {"gemma3-4b", "gemma3-27b", "tiny-gemma3"}) {
    EXPECT_EQ(preset(name).rope.scaling, RopeScaling::linear) << name;
    EXPECT_EQ(preset(name).rope.factor, 8) << name;
    EXPECT_EQ(preset(name).local_rope.scaling, RopeScaling::none) << name;
  }
  for (const char* name : {"gpt-oss-20b", "tiny-gpt-oss"}) {
    const RopeSpec expected{.theta = 150000, .scaling = RopeScaling::yarn, .factor = 32, .original = 4096};
    EXPECT_EQ(preset(name).rope, expected) << name;
    EXPECT_EQ(preset(name).local_rope, expected) << name;
  }
}

TEST(Presets, KnowTheLocalLayersOfGemma3) {
  const ModelSpec& model = preset("gemma3-4b");
  for (const std::int64_t global : {5, 11, 29}) EXPECT_EQ(model.kind(global), LayerKind::global) << global;
  for (const std::int64_t local : {0, 4, 6, 30, 33}) EXPECT_EQ(model.kind(local), LayerKind::local) << local;
}

TEST(Presets, TinyOnesKeepThePatternAndFitALaptop) {
  const std::vector<std::pair<const char*, const char*>> pairs{{"tiny-mistral", "mistral-7b"},
                                                               {"tiny-gemma3", "gemma3-27b"},
                                                               {"tiny-gpt-oss", "gpt-oss-20b"},
                                                               {"tiny-llama", "llama3-8b"}};
  for (const auto& [tiny, large] : pairs) {
    const ModelSpec& a = preset(tiny);
    const ModelSpec& b = preset(large);
    EXPECT_EQ(a.pattern, b.pattern) << tiny;
    EXPECT_EQ(a.attention.heads / a.attention.kv_heads, b.attention.heads / b.attention.kv_heads) << tiny;
    EXPECT_EQ(a.attention.sink, b.attention.sink) << tiny;
    EXPECT_LE(a.width(), 128) << tiny;
    EXPECT_LE(look_back(a), 64) << tiny;
  }
}

TEST(Presets, ListWhatExistsWhenAskedForAnother) {
  try {
    preset("gemma3-28b");
    FAIL() << "no error";
  } catch (const UsageError& error) {
    for (const Preset& known : presets()) {
      EXPECT_NE(std::string(error.what()).find(known.name), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace annulus::stack
