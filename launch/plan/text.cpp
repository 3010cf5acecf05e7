/// Columns without figures are left out.
// SPDX-License-Identifier: Apache-2.0
#include "launch/plan/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "launch/memory.hpp"
#include "launch/numbers.hpp"
#include "launch/run/text.hpp"
#include "launch/table.hpp"

namespace annulus::launch {
namespace {

using kernels::Direction;
using stack::LayerKind;

std::string layer_text(const PlanPoint& point, LayerKind kind) {
  const double seconds = point.layer_seconds(kind);
  return seconds > 0 ? seconds_text(seconds) : "-";
}

std::string scheme_text(const PlanPoint& point) {
  std::string text = fmt::format("{}, {}", name(point.plan.layout.kind), name(point.plan.exchange));
  if (point.model.has(LayerKind::local)) text += fmt::format(", {}", stack::name(point.plan.local_halo));
  return text;
}

std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }

std::string rate_text(double flops_per_second) {
  const double rate = flops_per_second * 1e-12;
  return fmt::format("{:.{}f}", rate, rate < 10 ? 4 : 1);
}

std::string memory_text(const PlanPoint& point) { return bytes_text(static_cast<double>(point.bytes())); }

std::array<std::string, 8> time_cells(const PlanPoint& point) {
  if (!point.has_times()) return {"-", "-", "-", "-", "-", "-", "-", "-"};
  const forecast::StackTotals totals = point.totals();
  return {layer_text(point, LayerKind::global),     layer_text(point, LayerKind::local),
          seconds_text(totals.seconds),             percent(totals.exposed_seconds / totals.seconds),
          percent(point.efficiency()),              rate_text(totals.flops / totals.seconds),
          bytes_text(totals.bytes_sent),            bytes_text(totals.most_bytes_per_link)};
}

std::string longest_text(const Extreme& extreme) {
  if (extreme.seq_len == 0) return "none";
  return (extreme.goes_on ? "more than " : "") + size_text(extreme.seq_len);
}

/// What keeps a scheme from the time of evenly shared work without waiting.
std::string obstacle(const PlanPoint& point) {
  const forecast::StackTotals totals = point.totals();
  const double uneven = (totals.compute_seconds - totals.mean_compute_seconds) / totals.seconds;
  const double waiting = (totals.seconds - totals.compute_seconds) / totals.seconds;
  if (uneven < 0.01 && waiting < 0.01) return "nothing: even work, traffic hidden";
  if (uneven >= waiting) return fmt::format("{} to uneven work of the ranks", percent(uneven));
  return fmt::format("{} to traffic that does not hide", percent(waiting));
}

}  // namespace

std::string points_table(const std::vector<PlanPoint>& points, const Budget& budget) {
  const bool timed = std::ranges::any_of(points, &PlanPoint::has_times);
  std::vector<std::string> header{"tokens", "ranks", "nodes", "scheme", "memory of a rank"};
  const bool limited = budget(1) > 0;
  if (limited) header.emplace_back("fits");
  if (timed) header.insert(header.end(), {"global layer", "local layer", "run", "exposed", "efficiency", "TFLOP/s", "sent", "by a rank"});
  Table table(header);
  for (const PlanPoint& point : points) {
    const forecast::Placement& placement = point.plan.placement;
    std::vector<std::string> cells{size_text(point.model.attention.seq_q), std::to_string(placement.ranks),
                                   std::to_string(placement.nodes()), scheme_text(point), memory_text(point)};
    if (limited) cells.emplace_back(point.bytes() <= budget(placement.ranks) ? "yes" : "no");
    if (timed) std::ranges::copy(time_cells(point), std::back_inserter(cells));
    table.add(std::move(cells));
  }
  return table.text();
}

std::string longest_table(const std::vector<Extreme>& longest) {
  Table table({"ranks", "longest context", "tokens of a rank", "run"});
  for (const Extreme& extreme : longest) {
    const bool timed = extreme.point && extreme.point->has_times();
    table.add({std::to_string(extreme.ranks), longest_text(extreme),
               extreme.seq_len > 0 ? std::to_string(extreme.seq_len / extreme.ranks) : "-",
               timed ? seconds_text(extreme.point->totals().seconds) : "-"});
  }
  return table.text();
}

std::string fewest_table(const std::vector<Extreme>& fewest, std::int64_t most_ranks) {
  Table table({"tokens", "fewest ranks", "run"});
  for (const Extreme& extreme : fewest) {
    const bool timed = extreme.point && extreme.point->has_times();
    table.add({size_text(extreme.seq_len),
               extreme.ranks > 0 ? std::to_string(extreme.ranks) : fmt::format("more than {}", most_ranks),
               timed ? seconds_text(extreme.point->totals().seconds) : "-"});
  }
  return table.text();
}

std::string schemes_table(const std::vector<PlanPoint>& schemes) {
  Table table({"scheme", "run", "exposed", "memory of a rank", "what it loses"});
  for (const PlanPoint& point : schemes) {
    const forecast::StackTotals totals = point.totals();
    table.add({scheme_text(point), seconds_text(totals.seconds), percent(totals.exposed_seconds / totals.seconds),
               memory_text(point), obstacle(point)});
  }
  return table.text();
}

std::string thresholds_table(const AttentionSpec& spec, const forecast::Machine& machine, int threads, int ranks_of_node) {
  Table table({"direction", "ring", "link", "full mask", "causal zigzag"});
  for (const Direction direction : {Direction::forward, Direction::backward}) {
    const double rate = forecast::kernel_speed(machine, spec.dtype, spec.head_dim, direction).flops_per_second * threads;
    const auto add = [&](const std::string& ring, const std::string& link, double rows) {
      table.add({std::string(word(direction)), ring, link, fmt::format("{:.0f}", rows), fmt::format("{:.0f}", 2 * rows)});
    };
    if (machine.node) add("flat", "within a node", forecast::hiding_rows(spec, direction, rate, *machine.node));
    if (!machine.network) continue;
    add("flat", "between nodes", forecast::hiding_rows_of_nodes(spec, direction, rate, machine, 1));
    if (ranks_of_node == 1) continue;
    add(fmt::format("nodes of {}", ranks_of_node), "between nodes",
        forecast::hiding_rows_of_nodes(spec, direction, rate, machine, ranks_of_node));
  }
  return table.text();
}

std::string items_table(const PlanPoint& point) {
  Table table({"memory of the rank that needs most", "bytes", "about"});
  const auto add = [&table](const std::string& item, std::uint64_t bytes) {
    table.add({item, std::to_string(bytes), bytes_text(static_cast<double>(bytes))});
  };
  for (const stack::MemoryItem& item : point.memory) add(item.name, item.bytes);
  add("sum", point.bytes());
  return table.text();
}

Json point_to_json(const PlanPoint& point) {
  Json memory = Json::object();
  for (const stack::MemoryItem& item : point.memory) memory[item.name] = item.bytes;
  Json layers = Json::array();
  std::int64_t index = 0;
  const std::int64_t count = point.model.layers;
  for (const forecast::LayerForecast& layer : point.layers) {
    const std::int64_t turned = index < count ? index : 2 * count - 1 - index;  // backward runs from the last layer
    ++index;
    layers.push_back({{"index", turned},
                      {"kind", stack::name(layer.kind)},
                      {"direction", word(layer.direction)},
                      {"seconds", layer.seconds()},
                      {"exposed_comm_seconds", layer.attention.exposed_seconds},
                      {"bytes_sent", layer.attention.bytes_sent},
                      {"most_bytes_per_link", layer.attention.most_bytes_per_link},
                      {"flops", layer.attention.flops}});
  }
  Json json{{"seq_len", point.model.attention.seq_q},
            {"ranks", point.plan.placement.ranks},
            {"nodes", point.plan.placement.nodes()},
            {"threads", point.plan.placement.threads},
            {"layout", name(point.plan.layout.kind)},
            {"exchange", name(point.plan.exchange)},
            {"local_halo", stack::name(point.plan.local_halo)},
            {"peak_bytes", point.bytes()},
            {"memory", memory},
            {"seconds", nullptr},
            {"exposed_comm_seconds", nullptr},
            {"layers", nullptr}};
  if (point.layers.empty()) return json;
  json["seconds"] = point.totals().seconds;
  json["exposed_comm_seconds"] = point.totals().exposed_seconds;
  json["layers"] = layers;
  return json;
}

}  // namespace annulus::launch
