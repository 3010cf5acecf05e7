/// Times that can be worked out by hand, traffic that was counted on wires, thresholds that were published.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/forecast/attention_forecast.hpp"

#include <gtest/gtest.h>

#include "kernels/base/error.hpp"
#include "kernels/kernel_table.hpp"

namespace annulus::forecast {
namespace {

using kernels::Direction;

/// Round figures: 1 Tflop/s, links that cost nothing unless a test says so.
Machine machine() {
  Machine machine{.name = "m", .source = "a test", .kernels = {}, .node = {}, .network = {}};
  machine.cores_per_node = 8;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const Direction direction : {Direction::forward, Direction::backward}) {
      machine.kernels.push_back({.dtype = dtype, .head_dim = 64, .direction = direction, .flops_per_second = 1e12});
    }
  }
  machine.node = machine.network = LinkSpeed{.latency_seconds = 0, .bytes_per_second = 1e18, .busy_share = 0};
  return machine;
}

AttentionSpec shape(std::int64_t tokens, bool causal) {
  AttentionSpec spec{.seq_q = tokens, .seq_k = tokens, .heads = 4, .kv_heads = 4, .head_dim = 64};
  spec.mask.causal = causal;
  return spec;
}

CallForecast forecast(const AttentionSpec& spec, LayoutKind layout, const Placement& placement, ExchangeKind exchange,
                      Direction direction, const Machine& on) {
  return forecast_attention(spec, {layout}, placement, exchange, direction, kernels::kernel_table("portable", spec.dtype), on);
}

TEST(AttentionForecast, DividesFlopsByRates) {
  const AttentionSpec spec = shape(8192, false);
  const double flops = 4.0 * 8192 * 8192 * 64 * 4;
  for (const int ranks : {1, 4}) {
    const CallForecast found = forecast(spec, LayoutKind::contiguous, {.ranks = ranks, .ranks_per_node = 8},
                                        ExchangeKind::shared, Direction::forward, machine());
    EXPECT_DOUBLE_EQ(found.flops, flops);
    EXPECT_NEAR(found.seconds, flops / 1e12 / ranks, 1e-9);
    EXPECT_EQ(found.bytes_sent, 0);
    EXPECT_NEAR(found.exposed_seconds, 0, 1e-12);
  }
  const CallForecast back = forecast(spec, LayoutKind::contiguous, {.ranks = 4, .ranks_per_node = 8}, ExchangeKind::shared,
                                     Direction::backward, machine());
  EXPECT_NEAR(back.seconds, 2.5 * flops / 1e12 / 4, 1e-9);
}

TEST(AttentionForecast, KnowsWhatLayoutsDoToCausalWork) {
  const AttentionSpec spec = shape(1 << 16, true);
  const auto evenness = [&](LayoutKind layout, int ranks) {
    const CallForecast found = forecast(spec, layout, {.ranks = ranks, .ranks_per_node = 64}, ExchangeKind::shared,
                                        Direction::forward, machine());
    return found.mean_compute_seconds / found.compute_seconds;
  };
  EXPECT_NEAR(evenness(LayoutKind::zigzag, 8), 1, 1e-3);
  EXPECT_NEAR(evenness(LayoutKind::striped, 8), 1, 1e-3);
  EXPECT_NEAR(evenness(LayoutKind::contiguous, 8), 4 / 7.5, 1e-3) << "of 8 blocks the last rank sees 7.5, all ranks 4 on average";
}

/// docs/ring.md: 4 ranks on 2 hosts, 4096 tokens, 4 heads of 64, f32, causal zigzag; one of eight layers.
TEST(AttentionForecast, SendsWhatWasCountedOnWires) {
  const auto sent = [](ExchangeKind exchange, Direction direction) {
    return forecast(shape(4096, true), LayoutKind::zigzag, {.ranks = 4, .ranks_per_node = 2}, exchange, direction, machine())
        .bytes_sent;
  };
  const double forward = sent(ExchangeKind::nodes, Direction::forward);
  EXPECT_EQ(forward, 50331648 / 8);
  EXPECT_NEAR(forward + sent(ExchangeKind::nodes, Direction::backward), 201326720.0 / 8, 16);
  EXPECT_EQ(sent(ExchangeKind::shared, Direction::backward), 0);
  const double block = 2.0 * 1024 * 4 * 64 * 4;
  EXPECT_EQ(sent(ExchangeKind::messages, Direction::forward), 0.75 * 4 * 3 * block) << "four ranks, three hops, a quarter dropped";
}

TEST(AttentionForecast, WaitsForLinksThatAreTooSlow) {
  const AttentionSpec spec = shape(8192, false);
  const Placement placement{.ranks = 4, .ranks_per_node = 1};
  const double block = 2.0 * 2048 * 4 * 64 * 4;  // K and V of a rank
  const double step = 4.0 * 2048 * 2048 * 64 * 4 / 1e12;
  Machine slow = machine();
  slow.network->bytes_per_second = block / (3 * step);
  const CallForecast found =
      forecast(spec, LayoutKind::contiguous, placement, ExchangeKind::messages, Direction::forward, slow);
  EXPECT_NEAR(found.exposed_seconds, 3 * 2 * step, 1e-6);
  EXPECT_NEAR(found.seconds, 4 * step + 3 * 2 * step, 1e-6);
  slow.network->bytes_per_second = block / (0.9 * step);
  EXPECT_NEAR(forecast(spec, LayoutKind::contiguous, placement, ExchangeKind::messages, Direction::forward, slow).exposed_seconds,
              0, 1e-9);
  slow.network->busy_share = 1;
  EXPECT_NEAR(forecast(spec, LayoutKind::contiguous, placement, ExchangeKind::messages, Direction::forward, slow).seconds,
              4 * step + 3 * 0.9 * step, 1e-6)
      << "the core copies";
}

TEST(AttentionForecast, SharesThePortsOfANode) {
  const AttentionSpec spec = shape(8192, false);
  const Placement placement{.ranks = 8, .ranks_per_node = 4};
  Machine cluster = machine();
  cluster.network->bytes_per_second = 1e9;
  const double block_seconds = 2.0 * 1024 * 4 * 64 * 4 / 1e9;
  const double step_seconds = 4.0 * 1024 * 1024 * 64 * 4 / 1e12;
  const auto exposed = [&] {
    return forecast(spec, LayoutKind::contiguous, placement, ExchangeKind::nodes, Direction::forward, cluster).exposed_seconds;
  };
  EXPECT_NEAR(exposed(), 0, 1e-9) << "a port for each, and four steps to a hop";
  cluster.node_ports_bytes_per_second = 1e9;
  EXPECT_NEAR(exposed(), 4 * block_seconds - 4 * step_seconds, 1e-6) << "four ranks send at a quarter of the rate";
}

TEST(AttentionForecast, FetchesWhatAWindowNeeds) {
  AttentionSpec spec = shape(8192, true);
  spec.mask.window_size = {255, 0};
  const CallForecast found = forecast(spec, LayoutKind::contiguous, {.ranks = 4, .ranks_per_node = 1}, ExchangeKind::messages,
                                      Direction::forward, machine());
  EXPECT_EQ(found.bytes_sent, 3 * 255 * 2 * 4 * 64 * 4) << "K and V of the rows before a shard";
  EXPECT_NEAR(found.flops, 4.0 * 64 * 4 * static_cast<double>(Mask(spec.mask, 8192, 8192).visible_pairs()), 1);
}

TEST(AttentionForecast, SlowsDownRanksThatShareCores) {
  Machine small = machine();
  small.cores_per_node = 2;
  const AttentionSpec spec = shape(8192, false);
  const auto seconds = [&](int ranks, int threads) {
    return forecast(spec, LayoutKind::contiguous, {.ranks = ranks, .ranks_per_node = 8, .threads = threads}, ExchangeKind::shared,
                    Direction::forward, small)
        .compute_seconds;
  };
  EXPECT_NEAR(seconds(2, 1), seconds(1, 2), 1e-9);
  EXPECT_NEAR(seconds(8, 1), seconds(2, 1), 1e-9) << "four ranks on a core";
}

/// The thresholds of the literature: H100s at 600 and 500 Tflop/s, heads that share keys in eights, links of 400 and 45 GB/s.
TEST(HidingRows, AreThePublishedThresholds) {
  AttentionSpec spec{.seq_q = 1, .seq_k = 1, .heads = 64, .kv_heads = 64, .head_dim = 128, .dtype = DType::bf16};
  const LinkSpeed nvlink{.bytes_per_second = 400e9};
  const LinkSpeed port{.bytes_per_second = 45e9};
  EXPECT_NEAR(hiding_rows(spec, Direction::forward, 600e12, nvlink), 1500, 1);
  EXPECT_NEAR(hiding_rows(spec, Direction::backward, 500e12, nvlink), 1500, 1);
  EXPECT_NEAR(hiding_rows(spec, Direction::forward, 600e12, port), 13333, 1);
  EXPECT_NEAR(hiding_rows(spec, Direction::backward, 500e12, port), 13333, 1);
  spec.kv_heads = 8;
  EXPECT_NEAR(hiding_rows(spec, Direction::forward, 600e12, port), 1667, 1);
  spec.kv_heads = 64;
  spec.dtype = DType::f32;
  EXPECT_NEAR(hiding_rows(spec, Direction::forward, 600e12, nvlink), 3000, 1);
  EXPECT_NEAR(hiding_rows(spec, Direction::backward, 500e12, nvlink), 2000, 1);
}

/// Where the threshold says that traffic hides, the ring that is played through agrees: twice the rows for causal zigzag.
TEST(HidingRows, AreWhereAForecastBeginsToWait) {
  Machine slow = machine();
  slow.network->bytes_per_second = 1e9;
  for (const bool causal : {false, true}) {
    const double rows = (causal ? 2 : 1) * hiding_rows(shape(1, causal), Direction::forward, 1e12, *slow.network);
    const auto share = [&](double factor) {
      const AttentionSpec spec = shape(8 * static_cast<std::int64_t>(factor * rows), causal);
      const CallForecast found = forecast(spec, causal ? LayoutKind::zigzag : LayoutKind::contiguous, {.ranks = 8, .ranks_per_node = 1},
                                          ExchangeKind::messages, Direction::forward, slow);
      return found.exposed_seconds / found.seconds;
    };
    EXPECT_LT(share(1.05), 0.005);
    EXPECT_GT(share(0.8), 0.05);
  }
}

TEST(HidingRows, OfNodesAreWhereTheirForecastBeginsToWait) {
  Machine slow = machine();
  slow.network->bytes_per_second = 1e9;
  for (const double ports : {0.0, 2.5e9}) {
    slow.node_ports_bytes_per_second = ports;
    const double rows = hiding_rows_of_nodes(shape(1, false), Direction::forward, 1e12, slow, 4);
    const auto share = [&](double factor) {
      const AttentionSpec spec = shape(16 * static_cast<std::int64_t>(factor * rows), false);
      const CallForecast found = forecast(spec, LayoutKind::contiguous, {.ranks = 16, .ranks_per_node = 4}, ExchangeKind::nodes,
                                          Direction::forward, slow);
      return found.exposed_seconds / found.seconds;
    };
    EXPECT_LT(share(1.05), 0.005) << ports;
    EXPECT_GT(share(0.8), 0.05) << ports;
  }
}

TEST(ResolveExchange, TakesWhatNodesAllow) {
  const Placement one{.ranks = 4, .ranks_per_node = 8};
  const Placement even{.ranks = 8, .ranks_per_node = 4};
  const Placement uneven{.ranks = 6, .ranks_per_node = 4};
  const Placement apart{.ranks = 3, .ranks_per_node = 1};
  EXPECT_EQ(resolve_exchange(ExchangeKind::automatic, one), ExchangeKind::shared);
  EXPECT_EQ(resolve_exchange(ExchangeKind::automatic, even), ExchangeKind::nodes);
  EXPECT_EQ(resolve_exchange(ExchangeKind::automatic, uneven), ExchangeKind::messages);
  EXPECT_EQ(resolve_exchange(ExchangeKind::automatic, apart), ExchangeKind::messages);
  EXPECT_EQ(resolve_exchange(ExchangeKind::messages, one), ExchangeKind::messages);
  EXPECT_THROW(resolve_exchange(ExchangeKind::shared, even), UsageError);
  EXPECT_THROW(resolve_exchange(ExchangeKind::nodes, uneven), UsageError);
}

TEST(KernelSpeed, IsTheNearestOfItsKind) {
  Machine few = machine();
  few.kernels.push_back({.dtype = DType::f32, .head_dim = 128, .direction = Direction::forward, .flops_per_second = 2e12});
  EXPECT_EQ(kernel_speed(few, DType::f32, 80, Direction::forward).flops_per_second, 1e12);
  EXPECT_EQ(kernel_speed(few, DType::f32, 256, Direction::forward).flops_per_second, 2e12);
  EXPECT_THROW((void)kernel_speed(few, DType::f16, 64, Direction::forward), InputError);
}

}  // namespace
}  // namespace annulus::forecast
