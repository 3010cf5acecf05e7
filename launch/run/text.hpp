/// What `annulus run` prints for people.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/report.hpp"
#include "runtime/stack/comparison.hpp"
#include "runtime/stack/memory_plan.hpp"
#include "runtime/stack/stack.hpp"

namespace annulus::launch {

/// One line of the table: a layer in one direction, with its verification if there was one.
struct RunLine {
  stack::LayerCost cost;
  std::optional<stack::LayerErrors> errors;
};

/// "2 layers, 4 heads of 64 (2 kv heads), width 256, f32, seed 0, causal"; with local layers their pattern and mask, too.
std::string model_text(const stack::ModelSpec& model);
/// How local layers get their halo, if there are any.
std::string local_halo_text(const stack::ModelSpec& model, stack::LocalHalo halo);
/// How blocks travel, and rows for local layers, if there are any.
std::string exchange_text(const stack::ModelSpec& model, ExchangeKind exchange, std::string_view mover = {});
/// With local layers, names kind and window of each.
std::string layers_table(const stack::ModelSpec& model, const std::vector<RunLine>& lines);
/// What a run over the same input needs to repeat this one; `preset` may be empty.
Json model_json(const stack::ModelSpec& model, const std::string& preset);
/// Items, their sum and what the node of rank 0 has.
std::string memory_table(const std::vector<stack::MemoryItem>& plan, std::uint64_t available);
/// "1.2 s", "35 ms".
std::string seconds_text(double seconds);

}  // namespace annulus::launch
