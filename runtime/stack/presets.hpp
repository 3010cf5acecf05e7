/// Attention of published models by name, and of small ones of the same make for a laptop.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/stack/model.hpp"

namespace annulus::stack {

/// The attention of a model: layers, heads, pattern, windows, scores and positions are as published. What a stack has
/// not is left out: MLPs, biases, norms of q and k, final softcap; weights are seeded; width is heads * head_dim.
/// Batch, sequence length and dtype are the caller's.
struct Preset {
  std::string_view name;
  ModelSpec model;
};

const std::vector<Preset>& presets();

/// "mistral-7b, gemma2-9b, ...": for help and messages.
std::string preset_names();

/// Throws UsageError that lists the names.
const ModelSpec& preset(std::string_view name);

}  // namespace annulus::stack
