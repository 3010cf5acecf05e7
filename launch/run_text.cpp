/// Tables of a run.
// SPDX-License-Identifier: Apache-2.0
#include "launch/run_text.hpp"

#include <fmt/format.h>

#include <limits>

#include "launch/memory.hpp"
#include "launch/report.hpp"
#include "launch/table.hpp"

namespace annulus::launch {
namespace {

std::string rate_text(double flops, double seconds) {
  return seconds > 0 ? fmt::format("{:.4f}", flops / seconds * 1e-12) : "-";
}

std::string bytes_text(std::uint64_t bytes) { return launch::bytes_text(static_cast<double>(bytes)); }

}  // namespace

std::string seconds_text(double seconds) {
  return seconds < 1 ? fmt::format("{:.1f} ms", seconds * 1e3) : fmt::format("{:.2f} s", seconds);
}

std::string model_text(const stack::ModelSpec& model) {
  const AttentionSpec& shape = model.attention;
  return fmt::format("{} layers, {} heads of {} ({} kv heads), width {}, {}, {}, seed {}", model.layers, shape.heads,
                     shape.head_dim, shape.kv_heads, model.width(), name(shape.dtype),
                     Mask(shape.mask, shape.seq_q, shape.seq_k).describe(), model.seed);
}

std::string layers_table(const stack::ModelSpec& model, const std::vector<RunLine>& lines) {
  Table table({"layer", "kind", "direction", "time", "attention", "TFLOP/s", "messages", "sent", "exposed comm", "error"});
  for (const auto& [cost, errors] : lines) {
    table.add({std::to_string(cost.index), kind_of_layer(model.attention.mask),
               cost.direction == kernels::Direction::forward ? "forward" : "backward", seconds_text(cost.seconds),
               seconds_text(cost.attention_seconds), rate_text(cost.flops, cost.seconds), std::to_string(cost.messages),
               bytes_text(cost.bytes_sent), seconds_text(cost.exposed_comm_seconds),
               errors ? fmt::format("{:.1e}", errors->max_rel_error) : "-"});
  }
  return table.text();
}

std::string memory_table(const std::vector<stack::MemoryItem>& plan, std::uint64_t available) {
  Table table({"memory of a rank", "bytes", ""});
  const auto add = [&](const std::string& what, std::uint64_t bytes) {
    table.add({what, std::to_string(bytes), bytes_text(bytes)});
  };
  for (const stack::MemoryItem& item : plan) add(item.name, item.bytes);
  add("sum", stack::total_bytes(plan));
  if (available != std::numeric_limits<std::uint64_t>::max()) add("available on this node", available);
  return table.text();
}

}  // namespace annulus::launch
