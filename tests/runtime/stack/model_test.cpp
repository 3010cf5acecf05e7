/// What is decided before a stack runs: its shape, its weights, its memory, its sampled rows; and the verdict on them.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/model.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <set>

#include "runtime/stack/memory_plan.hpp"
#include "runtime/stack/samples.hpp"

namespace annulus::stack {
namespace {

ModelSpec small() {
  ModelSpec model;
  model.attention = {.seq_q = 40, .seq_k = 40, .heads = 4, .kv_heads = 2, .head_dim = 8, .mask = {.causal = true}};
  return model;
}

std::vector<float> qkv_weights(const ModelSpec& model, std::int64_t layer, int threads = 1) {
  Workers workers(threads);
  const LayerWeights weights = layer_weights(model, layer, workers);
  return {weights.qkv.span().begin(), weights.qkv.span().end()};
}

TEST(Weights, DependOnSeedLayerAndMatrixAlone) {
  const ModelSpec model = small();
  const std::vector<float> first = qkv_weights(model, 0);
  EXPECT_EQ(qkv_weights(model, 0, 3), first);
  ModelSpec deeper = model;
  deeper.layers = 9;
  deeper.attention.seq_q = deeper.attention.seq_k = 999;
  EXPECT_EQ(qkv_weights(deeper, 0), first);
  EXPECT_NE(qkv_weights(model, 1), first);
  ModelSpec other = model;
  other.seed = 1;
  EXPECT_NE(qkv_weights(other, 0), first);
  const auto width = static_cast<std::ptrdiff_t>(model.width());
  EXPECT_FALSE(std::equal(first.begin(), first.begin() + width, first.begin() + width * width)) << "Wk repeats Wq";
}

TEST(Weights, HaveVarianceOneOverWidth) {
  const ModelSpec model = small();
  const std::vector<float> weights = qkv_weights(model, 0);
  const auto count = static_cast<double>(weights.size());
  EXPECT_NEAR(std::accumulate(weights.begin(), weights.end(), 0.0) / count, 0, 0.02);
  EXPECT_NEAR(std::inner_product(weights.begin(), weights.end(), weights.begin(), 0.0) / count, 1.0 / 32, 0.003);
}

TEST(Model, RefusesShapesThatNoStackHas) {
  const std::vector<std::function<void(ModelSpec&)>> changes{
      [](ModelSpec& m) { m.layers = 0; },
      [](ModelSpec& m) { m.layers = 1'000'001; },
      [](ModelSpec& m) { m.attention.seq_k = 41; },
      [](ModelSpec& m) { m.attention.seq_q = m.attention.seq_k = 0; },
      [](ModelSpec& m) { m.attention.kv_heads = 3; },
      [](ModelSpec& m) {
        m.attention.alibi_slopes = {1, 1, 1, 1};
      },
      [](ModelSpec& m) { m.attention.dtype = DType::f64; },
      [](ModelSpec& m) { m.pattern = ""; },
      [](ModelSpec& m) { m.pattern = "GX"; },
      [](ModelSpec& m) { m.pattern = "GL"; },
      [](ModelSpec& m) {
        m.local_masks = {{.causal = true, .window_size = {3, 0}}};
      },
      [](ModelSpec& m) {
        m.pattern = "LG";
        m.local_masks = {{.causal = true}};
      },
      [](ModelSpec& m) {
        m.pattern = "LLLG";
        m.local_masks.resize(2, {.causal = true, .chunk_size = 4});
      },
      [](ModelSpec& m) { m.attention.mask.chunk_size = 4; },
      [](ModelSpec& m) { m.residual_alpha = -0.1; },
      [](ModelSpec& m) { m.residual_alpha = 1.1; },
      [](ModelSpec& m) { m.residual_alpha = std::numeric_limits<double>::quiet_NaN(); },
      [](ModelSpec& m) { m.rope.theta = 0; },
      [](ModelSpec& m) { m.attention.heads = m.attention.kv_heads = std::int64_t{1} << 30; }};
  EXPECT_NO_THROW(check(small()));
  for (std::size_t i = 0; i < changes.size(); ++i) {
    ModelSpec model = small();
    changes[i](model);
    EXPECT_THROW(check(model), UsageError) << "change " << i;
  }
}

ModelSpec mixed(std::string pattern, std::int64_t layers) {
  ModelSpec model = small();
  model.pattern = std::move(pattern);
  model.layers = layers;
  model.local_masks = {{.causal = true, .window_size = {7, 0}}};
  model.rope = {.theta = 1e6, .scaling = RopeScaling::linear, .factor = 8};
  return model;
}

TEST(Model, RepeatsItsPattern) {
  const ModelSpec model = mixed("LLG", 8);
  EXPECT_NO_THROW(check(model));
  std::string kinds;
  for (std::int64_t i = 0; i < model.layers; ++i) kinds += model.layer(i).kind == LayerKind::local ? 'L' : 'G';
  EXPECT_EQ(kinds, "LLGLLGLL");
}

TEST(Model, GivesEachKindItsMaskAndItsPositions) {
  const ModelSpec model = mixed("LG", 2);
  EXPECT_EQ(model.layer(0).attention.mask, model.local_masks.front());
  EXPECT_EQ(model.layer(1).attention.mask, (MaskSpec{.causal = true}));
  EXPECT_EQ(model.layer(0).rope, RopeSpec{});
  EXPECT_EQ(model.layer(1).rope, model.rope);
  EXPECT_EQ(model.layer(0).attention.heads, 4);
}

TEST(Model, KnowsTheKindsOfItsLayers) {
  EXPECT_FALSE(small().has(LayerKind::local));
  EXPECT_FALSE(mixed("L", 3).has(LayerKind::global));
  EXPECT_FALSE(mixed("LLG", 2).has(LayerKind::global)) << "the third layer is not there";
  EXPECT_TRUE(mixed("LLG", 3).has(LayerKind::global));
}

/// "LLGL" with windows of 8, 4 and 8 keys.
ModelSpec varied() {
  ModelSpec model = mixed("LLGL", 9);
  model.local_masks.resize(3, model.local_masks.front());
  model.local_masks[1].window_size = {3, 0};
  return model;
}

TEST(Model, GivesTheLocalLayersOfItsPatternTheirMasksInTurn) {
  const ModelSpec model = varied();
  EXPECT_NO_THROW(check(model));
  std::vector<std::int64_t> reach;
  for (std::int64_t i = 0; i < model.layers; ++i) reach.push_back(model.layer(i).attention.mask.window_size.left);
  EXPECT_EQ(reach, (std::vector<std::int64_t>{7, 3, -1, 7, 7, 3, -1, 7, 7}));
}

TEST(LayerVariants, AreLayersOfOneMask) {
  const LayerVariants variants(varied());
  EXPECT_EQ(variants.specs().size(), 3U);
  std::vector<std::size_t> of;
  for (std::int64_t i = 0; i < 9; ++i) of.push_back(variants.of(i));
  EXPECT_EQ(of, (std::vector<std::size_t>{0, 1, 2, 0, 0, 1, 2, 0, 0}));
  EXPECT_EQ(LayerVariants(mixed("LLG", 2)).specs().size(), 1U) << "the third layer is not there";
}

TEST(Model, ChecksThePositionsOfTheKindsThatItHas) {
  ModelSpec model = mixed("L", 3);
  model.local_rope.theta = 0;
  EXPECT_THROW(check(model), UsageError);
}

TEST(Weights, HaveASinkPerHeadOnlyIfAsked) {
  ModelSpec model = small();
  const std::vector<float> plain = qkv_weights(model, 1);
  model.attention.sink = true;
  EXPECT_EQ(qkv_weights(model, 1), plain) << "sinks change no matrix";
  Workers workers(1);
  const std::vector<float> sinks = layer_weights(model, 1, workers).sink;
  ASSERT_EQ(sinks.size(), 4U);
  EXPECT_EQ(std::set<float>(sinks.begin(), sinks.end()).size(), 4U);
  EXPECT_NE(layer_weights(model, 0, workers).sink, sinks);
  EXPECT_TRUE(layer_weights(small(), 1, workers).sink.empty());
  EXPECT_EQ(layer_weight_bytes(model) - layer_weight_bytes(small()), 4 * sizeof(float));
}

std::uint64_t planned(std::int64_t seq_len, int ranks, kernels::Direction direction, std::int64_t layers = 2) {
  ModelSpec model = small();
  model.layers = layers;
  model.attention.seq_q = model.attention.seq_k = seq_len;
  const RunShape run{.layout = {}, .ranks = ranks, .direction = direction, .verify_rows = 8};
  return total_bytes(memory_plan(model, run, kernels::kernel_table("portable", DType::f32)));
}

TEST(MemoryPlan, FallsWithTheRanks) {
  using kernels::Direction;
  constexpr std::int64_t long_seq = std::int64_t{1} << 22;
  for (const Direction direction : {Direction::forward, Direction::backward}) {
    const auto alone = static_cast<double>(planned(long_seq, 1, direction));
    EXPECT_LT(static_cast<double>(planned(long_seq, 8, direction)), alone / 6);
  }
}

TEST(MemoryPlan, GrowsWithTheLayersInBackwardOnly) {
  using kernels::Direction;
  constexpr std::int64_t seq = 1 << 16;
  EXPECT_EQ(planned(seq, 4, Direction::forward, 2), planned(seq, 4, Direction::forward, 20));
  EXPECT_LT(planned(seq, 4, Direction::backward, 2), planned(seq, 4, Direction::backward, 20));
}

TEST(MemoryPlan, CountsARingForEachKind) {
  const auto ring_of = [](const ModelSpec& model) {
    const RunShape run{.layout = {}, .ranks = 4};
    for (const MemoryItem& item : memory_plan(model, run, kernels::kernel_table("portable", DType::f32))) {
      if (item.name.starts_with("rings")) return item.bytes;
    }
    return std::uint64_t{0};
  };
  EXPECT_GT(ring_of(small()), 0U);
  EXPECT_GT(ring_of(mixed("LG", 2)), ring_of(mixed("LG", 1)));
}

TEST(MemoryPlan, StagesAHaloThatTravels) {
  using kernels::Direction;
  const auto stages = [](const std::string& pattern, std::int64_t layers, Direction direction) {
    const RunShape run{.layout = {}, .ranks = 4, .direction = direction, .local_halo = LocalHalo::resident};
    const auto items = memory_plan(mixed(pattern, layers), run, kernels::kernel_table("portable", DType::f32));
    return std::ranges::any_of(items, [](const MemoryItem& item) { return item.name.starts_with("halo of x"); });
  };
  EXPECT_FALSE(stages("LG", 2, Direction::forward)) << "the first run's comes with the input";
  EXPECT_TRUE(stages("LG", 3, Direction::forward));
  EXPECT_TRUE(stages("LG", 2, Direction::backward)) << "its gradients go home";
}

TEST(MemoryPlan, RefusesSizesBeyond63Bits) {
  for (const std::int64_t seq : {std::int64_t{1} << 55, std::numeric_limits<std::int64_t>::max()}) {
    EXPECT_THROW(planned(seq, 1, kernels::Direction::forward), ResourceError) << seq;
    EXPECT_THROW(planned(seq, 8, kernels::Direction::backward), ResourceError) << seq;
  }
}

TEST(Samples, HoldTheEdgesOfAllShards) {
  for (const LayoutKind kind : {LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped}) {
    const Layout layout(kind, 101, 5);
    const std::vector<Sample> samples = sample_rows(layout, 2, 40, 7);
    EXPECT_EQ(samples.size(), 40U);
    EXPECT_TRUE(std::is_sorted(samples.begin(), samples.end()));
    const std::set<Sample> chosen(samples.begin(), samples.end());
    EXPECT_EQ(chosen.size(), samples.size());
    EXPECT_TRUE(chosen.contains({0, 0}) && chosen.contains({1, 100}));
    for (int rank = 0; rank < 5; ++rank) {
      EXPECT_TRUE(chosen.contains({0, layout.position(rank, 0)})) << name(kind) << " " << rank;
      EXPECT_TRUE(chosen.contains({0, layout.position(rank, layout.rows(rank) - 1)})) << name(kind) << " " << rank;
    }
  }
}

TEST(Samples, AreEveryRowWhenMoreAreWanted) {
  const std::vector<Sample> samples = sample_rows(Layout(LayoutKind::zigzag, 3, 8), 2, 1000, 0);
  EXPECT_EQ(samples, (std::vector<Sample>{{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}, {1, 2}}));
}

}  // namespace
}  // namespace annulus::stack
