/// Counts by the mask's own arithmetic, so that tables and kernels cannot disagree.
// SPDX-License-Identifier: Apache-2.0
#include "launch/plan/cost_tables.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/base/checked.hpp"
#include "launch/memory.hpp"
#include "launch/table.hpp"

namespace annulus::launch {
namespace {

constexpr std::uint64_t gib = std::uint64_t{1} << 30;

void check_at_least(const char* what, std::int64_t value, std::int64_t min) {
  if (value >= min) return;
  throw UsageError(fmt::format("{} {} is too small (a cost counts tokens); try {} or more", what, value, min));
}

std::int64_t pairs(const MaskSpec& mask, std::int64_t seq_len) {
  return Mask(mask, seq_len, seq_len).visible_pairs();
}

/// One token in one layer: a row of keys and one of values per kv head.
std::int64_t row_bytes(const AttentionSpec& shape, const KvPolicy& policy) {
  constexpr std::int64_t scale_bytes = 2;
  const std::int64_t heads = policy.shared_heads ? shape.kv_heads : shape.heads;
  const std::int64_t row = policy.format == KvFormat::half ? 2 * shape.head_dim : shape.head_dim + scale_bytes;
  return static_cast<std::int64_t>(checked_product({2, heads, row}));
}

std::uint64_t cache_bytes(const stack::ModelSpec& model, const KvPolicy& policy, std::int64_t seq_len) {
  std::uint64_t rows = 0;
  for (std::int64_t index = 0; index < model.layers; ++index) {
    const MaskSpec mask = model.layer(index).attention.mask;
    const std::int64_t kept = policy.windows ? kept_tokens(mask, seq_len) : seq_len;
    rows = checked_sum({rows, static_cast<std::uint64_t>(kept)});
  }
  return checked_product({static_cast<std::int64_t>(rows), row_bytes(model.attention, policy)});
}

/// By bisection: bytes grow with the length, evenly once all windows are full.
std::optional<std::int64_t> tokens_that_fit(const stack::ModelSpec& model, const KvPolicy& policy, std::uint64_t room) {
  std::int64_t fits = 0;
  auto fails = static_cast<std::int64_t>(room) + 1;  // where any layer keeps all, a token takes a byte or more
  if (cache_bytes(model, policy, fails) <= room) return std::nullopt;
  while (fails - fits > 1) {
    const std::int64_t middle = fits + (fails - fits) / 2;
    (cache_bytes(model, policy, middle) <= room ? fits : fails) = middle;
  }
  return fits;
}

/// A policy that changes nothing for this model would only repeat a line.
bool tells(const KvPolicy& policy, const stack::ModelSpec& model) {
  if (!policy.shared_heads && model.attention.heads == model.attention.kv_heads) return false;
  return !policy.windows || model.has(stack::LayerKind::local);
}

std::string band_text(const Band& band) {
  const auto side = [](std::int64_t size) { return size < 0 ? std::string("all") : count_text(size); };
  if (band.causal && band.size.left >= 0) return fmt::format("{} tokens, itself included", count_text(band.size.left + 1));
  return fmt::format("{} tokens before and {} behind", side(band.size.left), band.causal ? "none" : side(band.size.right));
}

std::string heads_text(const stack::ModelSpec& model) {
  return fmt::format("{}:{}", model.attention.heads, model.attention.kv_heads);
}

}  // namespace

ScoreCost score_cost(std::int64_t seq_len) {
  check_at_least("a length of", seq_len, 0);
  return {.seq_len = seq_len, .square = pairs({}, seq_len), .causal = pairs({.causal = true}, seq_len)};
}

std::int64_t Band::tokens(std::int64_t seq_len) const {
  const auto reach = [&](std::int64_t side) { return side < 0 ? seq_len - 1 : side; };
  const std::int64_t left = reach(size.left);
  const std::int64_t right = causal ? 0 : reach(size.right);
  return static_cast<std::int64_t>(
      checked_sum({static_cast<std::uint64_t>(left), static_cast<std::uint64_t>(right), std::uint64_t{1}}));
}

Band sliding(std::int64_t tokens) {
  check_at_least("a window of", tokens, 1);
  return {.size = {tokens - 1, 0}};
}

WindowCost window_cost(std::int64_t seq_len, const Band& band) {
  check_at_least("a length of", seq_len, 1);
  return {.seq_len = seq_len,
          .tokens = band.tokens(seq_len),
          .all = pairs({.causal = band.causal}, seq_len),
          .window = pairs({.causal = band.causal, .window_size = band.size}, seq_len)};
}

const std::array<KvPolicy, 5>& kv_policies() {
  static constexpr std::array<KvPolicy, 5> all{{
      {"MHA, 16 bit", false, false, KvFormat::half},
      {"own heads, 16 bit", true, false, KvFormat::half},
      {"own heads, windows, 16 bit", true, true, KvFormat::half},
      {"own heads, 8 bit", true, false, KvFormat::int8},
      {"own heads, windows, 8 bit", true, true, KvFormat::int8},
  }};
  return all;
}

std::int64_t kept_tokens(const MaskSpec& mask, std::int64_t seq_len) {
  if (!mask.causal || mask.stride > 0) return seq_len;
  std::int64_t reach = seq_len;
  if (mask.window_size.left >= 0 && mask.window_size.left < seq_len) reach = mask.window_size.left + 1;
  if (mask.chunk_size > 0) reach = std::min(reach, mask.chunk_size);
  const std::int64_t first = std::max(mask.sink_tokens, mask.global_tokens);
  return reach + std::min(first, seq_len - reach);
}

KvCost kv_cost(const stack::ModelSpec& model, const KvPolicy& policy, std::int64_t seq_len) {
  check_at_least("a length of", seq_len, 0);
  return {.bytes_per_token = checked_product({model.layers, row_bytes(model.attention, policy)}),
          .bytes = cache_bytes(model, policy, seq_len),
          .tokens_per_gib = tokens_that_fit(model, policy, gib)};
}

std::string decimal_bytes_text(double bytes) {
  constexpr std::array units{"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  std::size_t unit = 0;
  for (; bytes >= 1000 && unit + 1 < units.size(); ++unit) bytes /= 1000;
  return fmt::format("{:.{}f} {}", bytes, unit == 0 ? 0 : 1, units[unit]);
}

std::string score_table(std::span<const std::int64_t> seq_lens) {
  Table table({"tokens", "scores", "f32", "f32", "causal", "f32", "f32"});
  for (const std::int64_t seq_len : seq_lens) {
    const ScoreCost cost = score_cost(seq_len);
    table.add({count_text(seq_len), count_text(cost.square), decimal_bytes_text(cost.square_bytes()),
               bytes_text(cost.square_bytes()), count_text(cost.causal), decimal_bytes_text(cost.causal_bytes()),
               bytes_text(cost.causal_bytes())});
  }
  return "Scores per head and layer, if they were stored (never stored here: tiles only)\n" + table.text();
}

std::string window_table(std::span<const std::int64_t> seq_lens, const Band& band) {
  Table table({"tokens", band.causal ? "causal pairs" : "pairs", "in the window", "fewer by", "n/W"});
  for (const std::int64_t seq_len : seq_lens) {
    const WindowCost cost = window_cost(seq_len, band);
    table.add({count_text(seq_len), count_text(cost.all), count_text(cost.window),
               fmt::format("{:.2f}x", cost.ratio()), fmt::format("{:.2f}x", cost.nominal_ratio())});
  }
  return fmt::format("Pairs with a window of {}; n/W sets the square against the band\n", band_text(band)) + table.text();
}

std::string kv_table(std::span<const stack::Preset> models, std::int64_t seq_len) {
  Table table({"model", "heads", "cache", "bytes/token", "total", "total", "less than MHA", "tokens/GiB"});
  for (const auto& [name, model] : models) {
    const auto most = static_cast<double>(kv_cost(model, kv_policies().front(), seq_len).bytes);
    for (const KvPolicy& policy : kv_policies()) {
      if (!tells(policy, model)) continue;
      const KvCost cost = kv_cost(model, policy, seq_len);
      const auto bytes = static_cast<double>(cost.bytes);
      table.add({std::string(name), heads_text(model), std::string(policy.name),
                 count_text(static_cast<std::int64_t>(cost.bytes_per_token)), decimal_bytes_text(bytes), bytes_text(bytes),
                 bytes > 0 ? fmt::format("{:.2f}x", most / bytes) : "-",
                 cost.tokens_per_gib ? count_text(*cost.tokens_per_gib) : "-"});
    }
  }
  return fmt::format("Key-value cache of {} tokens, one sequence; with windows local layers keep what later tokens see "
                     "(-: any length fits); 8 bit: with an f16 scale per token and head\n",
                     count_text(seq_len)) +
         table.text();
}

Json cost_tables_json(std::span<const std::int64_t> seq_lens, const Band& band, std::span<const stack::Preset> models) {
  Json scores = Json::array();
  Json windows = Json::array();
  for (const std::int64_t seq_len : seq_lens) {
    const ScoreCost cost = score_cost(seq_len);
    scores.push_back({{"seq_len", seq_len}, {"square", cost.square}, {"causal", cost.causal}});
    const WindowCost window = window_cost(seq_len, band);
    windows.push_back({{"seq_len", seq_len},
                       {"causal", band.causal},
                       {"window_size", {band.size.left, band.causal ? 0 : band.size.right}},
                       {"pairs", window.all},
                       {"window_pairs", window.window}});
  }
  Json caches = Json::array();
  for (const auto& [name, model] : models) {
    for (const KvPolicy& policy : kv_policies()) {
      if (!tells(policy, model)) continue;
      const KvCost cost = kv_cost(model, policy, seq_lens.back());
      caches.push_back({{"model", name},
                        {"cache", policy.name},
                        {"seq_len", seq_lens.back()},
                        {"bytes_per_token", cost.bytes_per_token},
                        {"bytes", cost.bytes}});
    }
  }
  return {{"scores", scores}, {"windows", windows}, {"kv_caches", caches}};
}

}  // namespace annulus::launch
