/// Which model a stack runs: a preset, and what is asked for in place of its figures.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/options.hpp"
#include "runtime/stack/model.hpp"
#include "runtime/stack/stack_rows.hpp"

namespace annulus::launch {

/// Zero and empty: as the preset, or as the default model of two global layers with 4 heads of 64.
struct ModelOptions {
  std::string preset;
  std::string pattern;                ///< letters alone
  std::vector<std::int64_t> windows;  ///< sliding windows of the pattern's local layers; 0: as all others
  std::int64_t layers = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;  ///< without a preset: as heads
  std::int64_t head_dim = 0;
  std::int64_t seed = 0;
  std::optional<double> residual_alpha;
  std::optional<double> rope_theta;
  std::optional<stack::RopeScaling> rope_scaling;
  std::optional<double> rope_factor;
  std::int64_t rope_original = 0;
};

/// Letters, and behind an L its window: LLLLLG, L512L4kG. Throws UsageError that names --pattern.
void set_pattern(ModelOptions& target, const std::string& word);

/// --model --pattern --layers --heads --kv-heads --head-dim --seed --residual-alpha --rope-*.
void add_model_options(Options& options, ModelOptions& target);

/// The preset with all that was asked for, but for batch, sequence length and dtype, which come with the input. Rules of
/// `scores.mask` narrow local layers; one that it leaves unset is the preset's, and windows within the pattern go before all.
/// A window without preset and pattern makes every layer local. Positions are changed in both kinds of layers, but a
/// scaling only where a preset stretches. Throws UsageError for options that would change nothing; stack::check() judges
/// the rest. Local.
stack::ModelSpec chosen_model(const ModelOptions& options, const AttentionOptions& scores);

/// Throws UsageError for --local-halo where no layer of any model has one.
void check_halo(stack::LocalHalo wanted, bool has_local);

}  // namespace annulus::launch
