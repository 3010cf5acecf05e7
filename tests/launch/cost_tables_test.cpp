/// The figures that people quote, digit by digit.
// SPDX-License-Identifier: Apache-2.0
#include "launch/plan/cost_tables.hpp"

#include <gtest/gtest.h>

#include <random>

#include "launch/memory.hpp"
#include "tests/support/random_masks.hpp"

namespace annulus::launch {
namespace {

constexpr double gib = 1 << 30;

TEST(CostTables, CountScoresInBothUnits) {
  const ScoreCost decimal = score_cost(128000);
  EXPECT_EQ(decimal.square, 16'384'000'000);
  EXPECT_EQ(decimal_bytes_text(decimal.square_bytes()), "65.5 GB");
  EXPECT_EQ(bytes_text(decimal.square_bytes()), "61.0 GiB");
  const ScoreCost binary = score_cost(131072);
  EXPECT_EQ(binary.square_bytes(), 64 * gib);
  EXPECT_EQ(decimal_bytes_text(binary.square_bytes()), "68.7 GB");
  EXPECT_EQ(binary.causal, std::int64_t{131072} * 131073 / 2);
  EXPECT_EQ(bytes_text(binary.causal_bytes()), "32.0 GiB");
  EXPECT_EQ(score_cost(0).square, 0);
  EXPECT_THROW(score_cost(-1), UsageError);
  EXPECT_THROW(score_cost(std::int64_t{1} << 40), ResourceError);
}

TEST(CostTables, NameDecimalUnits) {
  EXPECT_EQ(decimal_bytes_text(999), "999 B");
  EXPECT_EQ(decimal_bytes_text(1000), "1.0 kB");
  EXPECT_EQ(decimal_bytes_text(2.5e19), "25.0 EB");
}

TEST(CostTables, CountPairsBehindAWindow) {
  const WindowCost cost = window_cost(100000, sliding(4096));
  EXPECT_EQ(cost.all, 5'000'050'000);
  EXPECT_EQ(cost.window, 401'213'440);
  EXPECT_NEAR(cost.ratio(), 12.46, 0.005);
  EXPECT_NEAR(cost.nominal_ratio(), 24.41, 0.005);
  EXPECT_LT(window_cost(817146, sliding(4096)).ratio(), 100);
  EXPECT_GE(window_cost(817147, sliding(4096)).ratio(), 100);
  EXPECT_EQ(window_cost(409600, sliding(4096)).nominal_ratio(), 100);
  EXPECT_EQ(window_cost(5, sliding(1)).window, 5);
  EXPECT_EQ(window_cost(5, sliding(9)).ratio(), 1);
  EXPECT_THROW(window_cost(0, sliding(1)), UsageError);
  EXPECT_THROW(window_cost(1, sliding(0)), UsageError);
}

TEST(CostTables, CountPairsOfTheWindowAskedFor) {
  const Band both{.causal = false, .size = {50, 50}};
  const WindowCost cost = window_cost(1000, both);
  EXPECT_EQ(cost.all, 1'000'000);
  EXPECT_EQ(cost.tokens, 101);
  EXPECT_EQ(cost.window, 1000 * 101 - 50 * 51) << "the first and the last fifty see fewer";
  const std::array<std::int64_t, 1> length{1000};
  const std::string table = window_table(length, both);
  EXPECT_NE(table.find("50 tokens before and 50 behind"), std::string::npos) << table;
  EXPECT_NE(table.find("1,000  1,000,000         98,450"), std::string::npos) << table;
  const Band ahead{.causal = false, .size = {-1, 0}};
  EXPECT_EQ(window_cost(1000, ahead).window, 1000 * 1001 / 2);
  EXPECT_EQ(window_cost(1000, ahead).tokens, 1000);
  const Json windows = cost_tables_json(length, both, stack::presets())["windows"];
  EXPECT_EQ(windows[0]["window_pairs"], 98'450);
  EXPECT_EQ(windows[0]["window_size"], (Json{50, 50}));
}

KvCost cost_of(std::string_view model, std::size_t policy, std::int64_t seq_len) {
  return kv_cost(stack::preset(model), kv_policies()[policy], seq_len);
}
enum Policy : std::size_t { mha, own, windowed, int8, windowed_int8 };

TEST(CostTables, WeighTheCacheOfMistral) {
  const KvCost whole = cost_of("mistral-7b", own, 100000);
  EXPECT_EQ(whole.bytes_per_token, 131072u);
  EXPECT_EQ(whole.bytes, 13'107'200'000u);
  EXPECT_EQ(bytes_text(static_cast<double>(whole.bytes)), "12.2 GiB");
  EXPECT_EQ(whole.tokens_per_gib, 8192);
  EXPECT_EQ(cost_of("mistral-7b", mha, 100000).bytes, 52'428'800'000u);
  const KvCost narrow = cost_of("mistral-7b", windowed, 100000);
  EXPECT_EQ(narrow.bytes, 512u << 20);
  EXPECT_EQ(narrow.tokens_per_gib, std::nullopt) << "all layers forget";
  EXPECT_EQ(cost_of("mistral-7b", windowed, 100).bytes, 100u * 131072);
}

TEST(CostTables, WeighTheCacheOfLlama) {
  constexpr std::int64_t million = 1 << 20;
  const KvCost dense = cost_of("llama2-70b", mha, million);
  EXPECT_EQ(static_cast<double>(dense.bytes), 2560 * gib);
  EXPECT_EQ(static_cast<double>(cost_of("llama2-70b", own, million).bytes), 320 * gib);
  const KvCost small = cost_of("llama2-70b", int8, million);
  EXPECT_EQ(small.bytes_per_token, 80u * 8 * 2 * (128 + 2));
  EXPECT_NEAR(static_cast<double>(dense.bytes) / static_cast<double>(small.bytes), 15.75, 0.005);
  EXPECT_EQ(cost_of("llama2-70b", windowed, million).bytes, cost_of("llama2-70b", own, million).bytes);
}

TEST(CostTables, WeighTheCacheOfAHybrid) {
  constexpr std::uint64_t row = 2 * 16 * 128 * 2;  // 10 of the 62 layers are global, the others keep 1,024 tokens
  EXPECT_EQ(cost_of("gemma3-27b", windowed, 100000).bytes, row * (10 * 100000 + 52 * 1024));
  const std::int64_t fits = *cost_of("gemma3-27b", windowed, 1).tokens_per_gib;
  EXPECT_LE(static_cast<double>(cost_of("gemma3-27b", windowed, fits).bytes), gib);
  EXPECT_GT(static_cast<double>(cost_of("gemma3-27b", windowed, fits + 1).bytes), gib);
  EXPECT_EQ(cost_of("gpt-oss-20b", windowed_int8, 1000).bytes, 12u * (1000 + 128) * 2 * 8 * (64 + 2));
}

/// The most keys among those up to some token that it or a later one sees, every pair asked.
std::int64_t kept_by_pairs(const test::OracleMask& mask, std::int64_t seq_len) {
  std::int64_t most = 0;
  for (std::int64_t now = 0; now < seq_len; ++now) {
    std::int64_t kept = 0;
    for (std::int64_t key = 0; key <= now; ++key) {
      bool seen = false;
      for (std::int64_t query = now; query < 2 * seq_len && !seen; ++query) seen = mask.visible(query, key);
      kept += seen ? 1 : 0;
    }
    most = std::max(most, kept);
  }
  return most;
}

TEST(CostTables, KeepWhatLaterQueriesSee) {
  const std::uint64_t seed = std::random_device{}();
  std::mt19937_64 draw(seed);
  for (int round = 0; round < 300; ++round) {
    const auto seq_len = static_cast<std::int64_t>(1 + draw() % 24);
    MaskSpec spec = test::RandomMask(draw, seq_len, seq_len).any();
    spec.causal = true;
    spec.cu_seqlens.clear();
    SCOPED_TRACE("seed " + std::to_string(seed) + " round " + std::to_string(round) + " " +
                 Mask(spec, seq_len, seq_len).describe());
    const std::int64_t needed = kept_by_pairs(test::oracle_mask(spec), seq_len);
    ASSERT_GE(kept_tokens(spec, seq_len), needed);
    ASSERT_LE(kept_tokens(spec, seq_len), seq_len);
    // Of a chunk that the sequence ends in, and of a stride that later queries skip, less is needed for now.
    const bool bound = spec.stride > 0 || (spec.chunk_size > 0 && (spec.sink_tokens > 0 || spec.global_tokens > 0));
    if (!bound) {
      ASSERT_EQ(kept_tokens(spec, seq_len), needed);
    }
  }
}

TEST(CostTables, TellPeople) {
  const std::array<std::int64_t, 2> lengths{128000, 131072};
  const std::string scores = score_table(lengths);
  EXPECT_NE(scores.find("128,000  16,384,000,000  65.5 GB  61.0 GiB"), std::string::npos) << scores;
  EXPECT_NE(scores.find("never stored here"), std::string::npos);
  const std::array<std::int64_t, 1> length{100000};
  const std::string windows = window_table(length, sliding(4096));
  EXPECT_NE(windows.find("100,000  5,000,050,000    401,213,440    12.46x  24.41x"), std::string::npos) << windows;
  const std::string caches = kv_table(stack::presets(), 100000);
  EXPECT_NE(caches.find("536.9 MB"), std::string::npos) << caches;
  EXPECT_NE(caches.find("15.75x"), std::string::npos) << caches;
  EXPECT_EQ(caches.find("llama3-8b  32:8   own heads, windows"), std::string::npos) << "it has none";
}

}  // namespace
}  // namespace annulus::launch
