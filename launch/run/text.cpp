/// Tables of a run.
// SPDX-License-Identifier: Apache-2.0
#include "launch/run/text.hpp"

#include <fmt/format.h>

#include <limits>

#include "launch/memory.hpp"
#include "launch/report.hpp"
#include "launch/run/documents.hpp"
#include "launch/table.hpp"

namespace annulus::launch {
namespace {

std::string rate_text(double flops, double seconds) {
  return seconds > 0 ? fmt::format("{:.4f}", flops / seconds * 1e-12) : "-";
}

std::string bytes_text(std::uint64_t bytes) { return launch::bytes_text(static_cast<double>(bytes)); }

std::string window_text(const WindowSize& window) {
  return window.is_set() ? fmt::format("{},{}", window.left, window.right) : "-";
}

Json rope_json(const stack::RopeSpec& rope) {
  Json original = nullptr;
  if (rope.reads_original()) original = rope.original;
  return {{"theta", rope.theta}, {"scaling", name(rope.scaling)}, {"factor", rope.factor}, {"original", original}};
}

}  // namespace

std::string seconds_text(double seconds) {
  if (seconds > 0 && seconds < 1e-4) return fmt::format("{:.1f} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.1f} ms", seconds * 1e3);
  if (seconds < 600) return fmt::format("{:.2f} s", seconds);
  return seconds < 7200 ? fmt::format("{:.1f} min", seconds / 60) : fmt::format("{:.1f} h", seconds / 3600);
}

std::string model_text(const stack::ModelSpec& model) {
  const AttentionSpec& shape = model.attention;
  std::string text = fmt::format("{} layers, {} heads of {} ({} kv heads), width {}, {}, seed {}", model.layers,
                                 shape.heads, shape.head_dim, shape.kv_heads, model.width(), name(shape.dtype), model.seed);
  const stack::LayerVariants variants(model);
  for (const stack::LayerSpec& layer : variants.specs()) {
    const std::string rule = Mask(layer.attention.mask, shape.seq_q, shape.seq_k).describe();
    text += model.local_masks.empty() ? ", " + rule : fmt::format(", {}: {}", name(layer.kind), rule);
  }
  if (!model.local_masks.empty()) text += ", pattern " + model.pattern;
  return text;
}

std::string local_halo_text(const stack::ModelSpec& model, stack::LocalHalo halo) {
  return model.has(stack::LayerKind::local) ? std::string(name(halo)) : "none (no local layers)";
}

std::string exchange_text(const stack::ModelSpec& model, ExchangeKind exchange, std::string_view mover) {
  const std::string blocks = mover.empty() ? std::string(name(exchange)) : fmt::format("{}: {}", name(exchange), mover);
  return model.has(stack::LayerKind::local) ? blocks + " (rows of a halo: messages)" : blocks;
}

std::string layers_table(const stack::ModelSpec& model, const std::vector<RunLine>& lines) {
  const bool has_local = model.has(stack::LayerKind::local);
  std::vector<std::string> head{"layer", "direction", "time", "attention", "TFLOP/s", "messages", "sent", "exposed comm", "error"};
  if (has_local) head.insert(head.begin() + 1, {"kind", "window"});
  Table table(head);
  const stack::LayerVariants variants(model);
  for (const auto& [cost, errors] : lines) {
    std::vector<std::string> row{std::to_string(cost.index),
                                 std::string(word(cost.direction)),
                                 seconds_text(cost.seconds),
                                 seconds_text(cost.attention_seconds),
                                 rate_text(cost.flops, cost.attention_seconds),
                                 std::to_string(cost.messages),
                                 bytes_text(cost.bytes_sent),
                                 seconds_text(cost.exposed_comm_seconds),
                                 errors ? fmt::format("{:.1e}", errors->max_rel_error) : "-"};
    const stack::LayerSpec& layer = variants.spec(cost.index);
    if (has_local) row.insert(row.begin() + 1, {std::string(name(layer.kind)), window_text(layer.attention.mask.window_size)});
    table.add(row);
  }
  return table.text();
}

Json model_json(const stack::ModelSpec& model, const std::string& preset) {
  const AttentionSpec& shape = model.attention;
  Json json{{"preset", nullptr},           {"layers", model.layers},         {"pattern", model.pattern},
            {"heads", shape.heads},        {"kv_heads", shape.kv_heads},     {"head_dim", shape.head_dim},
            {"dtype", name(shape.dtype)},  {"causal", shape.mask.causal},    {"softmax_scale", nullptr},
            {"softcap", shape.softcap},    {"learned_sinks", shape.sink},    {"residual_alpha", nullptr},
            {"rope", rope_json(model.rope)}, {"local_rope", nullptr},        {"seed", model.seed},
            {"documents", nullptr}};
  if (!preset.empty()) json["preset"] = preset;
  if (shape.softmax_scale) json["softmax_scale"] = *shape.softmax_scale;
  if (model.residual_alpha) json["residual_alpha"] = *model.residual_alpha;
  if (!model.local_masks.empty()) json["local_rope"] = rope_json(model.local_rope);
  const std::vector<std::int64_t>& bounds = shape.mask.cu_seqlens;
  if (!bounds.empty()) json["documents"] = {{"count", bounds.size() - 1}, {"digest", digest_of(bounds)}};
  return json;
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
