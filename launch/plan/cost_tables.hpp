/// Costs of attention that people quote, exactly: score matrices, pairs behind a window, key-value caches.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "launch/report.hpp"
#include "runtime/stack/presets.hpp"

namespace annulus::launch {

/// Scores of one head in one layer, were they stored in f32: of the square, and of its causal half with the diagonal.
struct ScoreCost {
  std::int64_t seq_len = 0;
  std::int64_t square = 0;
  std::int64_t causal = 0;
  double square_bytes() const { return 4.0 * static_cast<double>(square); }
  double causal_bytes() const { return 4.0 * static_cast<double>(causal); }
};
/// Local. Throws UsageError for a negative length, ResourceError for one whose square does not fit 63 bits.
ScoreCost score_cost(std::int64_t seq_len);

/// What a query sees around itself.
struct Band {
  bool causal = true;
  WindowSize size;  ///< right: of bands that are not causal

  /// Of sequences of that length; a query itself included.
  std::int64_t tokens(std::int64_t seq_len) const;
};
/// As models count it: a token and the ones before it. Throws UsageError unless tokens >= 1.
Band sliding(std::int64_t tokens);

/// Visible pairs without a window, and of those the ones within it.
struct WindowCost {
  std::int64_t seq_len = 0;
  std::int64_t tokens = 0;  ///< that a query sees, itself included
  std::int64_t all = 0;     ///< of causal bands the causal half
  std::int64_t window = 0;
  double ratio() const { return static_cast<double>(all) / static_cast<double>(window); }
  /// What is quoted instead: the square against the nominal band, seq_len * tokens.
  double nominal_ratio() const { return static_cast<double>(seq_len) / static_cast<double>(tokens); }
};
/// Local. Throws UsageError unless seq_len >= 1, ResourceError as above.
WindowCost window_cost(std::int64_t seq_len, const Band& band);

/// How a cache stores an element of keys and values.
enum class KvFormat : std::uint8_t {
  half,  ///< f16 or bf16
  int8   ///< with an f16 scale per token and head
};

/// What a key-value cache keeps.
struct KvPolicy {
  std::string_view name;
  bool shared_heads;  ///< as the model shares its kv heads; else one for each head (MHA)
  bool windows;       ///< local layers forget what no later query sees
  KvFormat format;
};
/// From the most costly on: MHA, own heads, with windows, in 8 bit, both.
const std::array<KvPolicy, 5>& kv_policies();

/// Keys and values of all layers of one sequence.
struct KvCost {
  std::uint64_t bytes_per_token = 0;           ///< of a token that all layers keep
  std::uint64_t bytes = 0;                     ///< of seq_len tokens
  std::optional<std::int64_t> tokens_per_gib;  ///< the longest sequence that fits 1 GiB; empty: any length fits
};
/// Local. Reads layers, heads, pattern and masks of the model; documents are not told apart. Throws UsageError for a
/// negative length, ResourceError for sizes that do not fit 63 bits.
KvCost kv_cost(const stack::ModelSpec& model, const KvPolicy& policy, std::int64_t seq_len);

/// Tokens that a layer with this mask keeps at most, once seq_len have come: those that the newest query or a later one
/// may see. Meant for causal masks; others, and a stride, keep every token.
std::int64_t kept_tokens(const MaskSpec& mask, std::int64_t seq_len);

/// "65.5 GB": decimal, where bytes_text is binary.
std::string decimal_bytes_text(double bytes);

/// Tables for people, a line per length, window or policy.
std::string score_table(std::span<const std::int64_t> seq_lens);
std::string window_table(std::span<const std::int64_t> seq_lens, const Band& band);
std::string kv_table(std::span<const stack::Preset> models, std::int64_t seq_len);

/// The same for programs.
Json cost_tables_json(std::span<const std::int64_t> seq_lens, const Band& band, std::span<const stack::Preset> models);

}  // namespace annulus::launch
