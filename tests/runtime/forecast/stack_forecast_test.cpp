/// Layers in the order in which they run, halos where they are fetched.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/forecast/stack_forecast.hpp"

#include <gtest/gtest.h>

#include "kernels/kernel_table.hpp"

namespace annulus::forecast {
namespace {

using kernels::Direction;
using stack::LayerKind;
using stack::LocalHalo;

constexpr std::int64_t tokens = 8192;
constexpr std::int64_t window = 256;
constexpr std::int64_t width = 4 * 64;

stack::ModelSpec model(const std::string& pattern) {
  stack::ModelSpec model;
  model.attention = {.seq_q = tokens, .seq_k = tokens, .heads = 4, .kv_heads = 4, .head_dim = 64};
  model.attention.mask.causal = true;
  model.layers = static_cast<std::int64_t>(pattern.size());
  model.pattern = pattern;
  MaskSpec local{.causal = true};
  local.window_size = {window - 1, 0};
  if (pattern.find('L') != std::string::npos) model.local_masks = {local};
  return model;
}

Machine machine() {
  Machine machine{.name = "m", .source = "a test", .kernels = {}, .node = {}, .network = {}};
  machine.cores_per_node = 1;
  for (const Direction direction : {Direction::forward, Direction::backward}) {
    machine.kernels.push_back({.dtype = DType::f32, .head_dim = 64, .direction = direction, .flops_per_second = 1e11});
  }
  machine.node = machine.network = LinkSpeed{.latency_seconds = 1e-6, .bytes_per_second = 1e9, .busy_share = 0};
  return machine;
}

std::vector<LayerForecast> forecast(const std::string& pattern, int ranks, LocalHalo halo, bool backward, const Machine& on) {
  const StackPlan plan{.layout = {LayoutKind::contiguous},
                       .placement = {.ranks = ranks, .ranks_per_node = 1},
                       .exchange = ExchangeKind::messages,
                       .local_halo = halo,
                       .backward = backward};
  return forecast_stack(model(pattern), plan, kernels::kernel_table("portable", DType::f32), on);
}

TEST(StackForecast, ListsLayersAsTheyRun) {
  const std::vector<LayerForecast> layers = forecast("LLG", 2, LocalHalo::resident, true, machine());
  ASSERT_EQ(layers.size(), 6U);
  const LayerKind kinds[] = {LayerKind::local, LayerKind::local, LayerKind::global};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(layers[i].kind, kinds[i]);
    EXPECT_EQ(layers[i].direction, Direction::forward);
    EXPECT_EQ(layers[5 - i].kind, kinds[i]);
    EXPECT_EQ(layers[5 - i].direction, Direction::backward);
  }
}

TEST(StackForecast, SendsNothingInALocalRunWithAResidentHalo) {
  const std::vector<LayerForecast> layers = forecast("LLGL", 4, LocalHalo::resident, false, machine());
  EXPECT_EQ(layers[0].attention.bytes_sent, 0);
  EXPECT_EQ(layers[1].attention.bytes_sent, 0);
  EXPECT_EQ(layers[3].attention.bytes_sent, 0);
  // The last local layer's halo comes behind the global one: x of 255 rows for all ranks but the first.
  const double without = forecast("LLG", 4, LocalHalo::resident, false, machine())[2].attention.bytes_sent;
  EXPECT_NEAR(layers[2].attention.bytes_sent - without, 3.0 * (window - 1) * width * 4, 1);
}

TEST(StackForecast, SendsKeysPerLayerWithExchangedHalos) {
  const std::vector<LayerForecast> layers = forecast("LL", 4, LocalHalo::exchange, false, machine());
  for (const LayerForecast& layer : layers) EXPECT_EQ(layer.attention.bytes_sent, 3 * (window - 1) * 2 * width * 4);
}

TEST(StackForecast, CountsRowWorkOfHalosToo) {
  Machine with_rows = machine();
  with_rows.projection_flops_per_second = 1e10;
  with_rows.weights_per_second = 1e9;
  const std::vector<LayerForecast> layers = forecast("LL", 4, LocalHalo::resident, false, with_rows);
  const double weights = 4.0 * width * width;
  const auto expected = [&](std::int64_t rows) { return 2.0 * static_cast<double>(rows) * weights / 1e10 + weights / 1e9; };
  // The run holds what its first layer reaches: a window per layer.
  for (const LayerForecast& layer : layers) EXPECT_NEAR(layer.row_seconds, expected(tokens / 4 + 2 * (window - 1)), 1e-9);
  EXPECT_EQ(forecast("LL", 4, LocalHalo::resident, false, machine())[0].row_seconds, 0);
}

TEST(StackForecast, AddsUp) {
  const std::vector<LayerForecast> layers = forecast("LG", 3, LocalHalo::exchange, true, machine());
  const StackTotals sum = totals(layers);
  double seconds = 0;
  double sent = 0;
  double by_a_rank = 0;
  for (const LayerForecast& layer : layers) {
    seconds += layer.seconds();
    sent += layer.attention.bytes_sent;
    by_a_rank += layer.attention.most_bytes_per_link;
  }
  EXPECT_DOUBLE_EQ(sum.seconds, seconds);
  EXPECT_DOUBLE_EQ(sum.bytes_sent, sent);
  EXPECT_DOUBLE_EQ(sum.most_bytes_per_link, by_a_rank);
  EXPECT_GT(sum.most_bytes_per_link, sum.bytes_sent / 3 - 1);
}

}  // namespace
}  // namespace annulus::forecast
