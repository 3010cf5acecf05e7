/// The options of a command: declared once, parsed without guessing, each value checked where it is declared.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/base/dtype.hpp"
#include "runtime/exchange/exchange_kind.hpp"
#include "runtime/comm/vigil.hpp"
#include "runtime/layout/mask.hpp"

namespace annulus::launch {

/// Long options only; no abbreviations; each at most once. Targets must outlive parse().
class Options {
 public:
  /// Turns the text of a value into the target; throws UsageError.
  using Setter = std::function<void(const std::string& text)>;

  /// `usage` is the line after "Usage: annulus ", `summary` the paragraph below it.
  Options(std::string usage, std::string summary);
  ~Options();

  /// `name` without dashes.
  void flag(const std::string& name, bool& target, const std::string& help);      ///< sets it true
  void flag_off(const std::string& name, bool& target, const std::string& help);  ///< sets it false
  void value(const std::string& name, const std::string& placeholder, Setter set, const std::string& help);
  void text(const std::string& name, const std::string& placeholder, std::string& target, const std::string& help);
  /// Sizes accept 64k, 1M.
  void size(const std::string& name, const std::string& placeholder, std::int64_t& target, std::int64_t min,
            const std::string& help);
  /// Sizes with commas between them: 64k,256k,1M.
  void sizes(const std::string& name, const std::string& placeholder, std::vector<std::int64_t>& target, std::int64_t min,
             const std::string& help);
  void real(const std::string& name, const std::string& placeholder, std::optional<double>& target, double min,
            double max, const std::string& help);
  /// A word that must be given, by place. Declared in order.
  void positional(const std::string& placeholder, std::string& target);
  /// Options that a later version brings: refused as such, never ignored, absent from the help.
  void later(std::initializer_list<const char*> names);

  /// Throws UsageError that names the option. Local.
  void parse(std::span<const std::string> arguments);
  /// The options that `arguments` name, in order; flags have no value. Throws UsageError for unknown ones. Local.
  struct Given {
    std::string name;
    std::string value;
    bool is_flag;
    /// As one argument: --name or --name=value.
    std::string word() const { return "--" + name + (is_flag ? "" : "=" + value); }
  };
  std::vector<Given> given(std::span<const std::string> arguments) const;
  std::string help() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// What `attend` and `run` (and where it fits `bench`) share.
struct AttentionOptions {
  std::optional<DType> dtype;
  MaskSpec mask;                     ///< documents come with the input
  bool window_given = false;         ///< --window-size was
  bool sliding_window_given = false;
  std::optional<double> softmax_scale;
  std::optional<double> softcap;
  std::optional<LayoutKind> layout;  ///< empty: auto
  std::string backend = "auto";
  ExchangeKind exchange = ExchangeKind::automatic;
  bool backward = false;
  double comm_timeout = default_comm_timeout;  ///< seconds; see set_comm_timeout
  int threads = 0;     ///< 0: this rank's share of the node's cores
  bool deterministic = false;
  std::string report;  ///< empty: none; "-": stdout

  /// `--layout auto`: zigzag balances causal work; local work is even anyway, and contiguous shards keep it near.
  LayoutKind resolved_layout() const {
    return layout.value_or(mask.causal && !mask.is_local() ? LayoutKind::zigzag : LayoutKind::contiguous);
  }
};

/// Which mask a command has when nothing is said; the other one has a flag: --causal or --no-causal.
enum class MaskDefault { full, causal };

/// --causal or --no-causal, the other rules of MaskSpec, --softmax-scale, --softcap, --layout.
void add_mask_options(Options& options, AttentionOptions& target, MaskDefault mask);
/// --dtype --backend --exchange --backward --threads.
void add_scheme_options(Options& options, AttentionOptions& target);
/// --report.
void add_report_option(Options& options, AttentionOptions& target);
/// --comm-timeout.
void add_comm_timeout(Options& options, double& target);
/// Both, and --deterministic.
void add_execution_options(Options& options, AttentionOptions& target);
/// Checks what one value alone cannot show: that the rules of the mask fit together. Throws UsageError. Local.
void check_scores(const AttentionOptions& options);
/// Also that the backend exists here and takes the dtype.
void check_attention_options(const AttentionOptions& options);

}  // namespace annulus::launch
