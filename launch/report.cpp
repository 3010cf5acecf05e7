/// Builds the report and puts it in its place whole or not at all.
// SPDX-License-Identifier: Apache-2.0
#include "launch/report.hpp"

#include <fmt/format.h>
#include <annulus/version.hpp>

#include <algorithm>
#include <array>
#include <numeric>

#include "launch/memory.hpp"
#include "launch/table.hpp"
#include "runtime/checkpoint/replaced_file.hpp"
#include "runtime/comm/agreement.hpp"

namespace annulus::launch {
namespace {

Json to_json(const WindowSize& window) {
  if (!window.is_set()) return nullptr;
  return {window.left, window.right};
}

/// Of the attention, in units of 1e12; an empty input takes no time.
double rate(const LayerReport& layer) {
  return layer.attention_seconds > 0 ? layer.flops / layer.attention_seconds * 1e-12 : 0;
}

Json size_or_null(std::int64_t size) { return size > 0 ? Json(size) : Json(nullptr); }

Json to_json(const LayerReport& layer) {
  const MaskSpec& mask = layer.mask;
  return {{"index", layer.index},
          {"kind", kind_of_layer(mask)},
          {"direction", word(layer.direction)},
          {"causal", mask.causal},
          {"window", to_json(mask.window_size)},
          {"chunk_size", size_or_null(mask.chunk_size)},
          {"sink_tokens", size_or_null(mask.sink_tokens)},
          {"global_tokens", size_or_null(mask.global_tokens)},
          {"stride", size_or_null(mask.stride)},
          {"documents", size_or_null(layer.documents)},
          {"messages", layer.messages},
          {"bytes_sent", layer.bytes_sent},
          {"flops", layer.flops},
          {"seconds", layer.seconds},
          {"attention_seconds", layer.attention_seconds},
          {"tflops", rate(layer)},
          {"exposed_comm_seconds", layer.exposed_comm_seconds}};
}

Json to_json(const VerifyReport& verify) {
  return {{"rows", verify.rows}, {"max_abs_error", verify.max_abs_error}, {"max_rel_error", verify.max_rel_error}};
}

template <class T>
Json or_null(const std::optional<T>& value) {
  if (!value) return nullptr;
  if constexpr (requires { to_json(*value); }) {
    return to_json(*value);
  } else {
    return *value;
  }
}

}  // namespace

std::string_view word(kernels::Direction direction) {
  return direction == kernels::Direction::forward ? "forward" : "backward";
}

double tflops(const Report& report) {
  const double flops = std::accumulate(report.layers.begin(), report.layers.end(), 0.0,
                                       [](double sum, const LayerReport& layer) { return sum + layer.flops; });
  return report.seconds > 0 ? flops / report.seconds * 1e-12 : 0;
}

std::string kind_of_layer(const MaskSpec& mask) { return mask.is_local() ? "local" : "global"; }

MaskSpec without_documents(MaskSpec mask) {
  mask.cu_seqlens.clear();
  return mask;
}

std::int64_t documents_in(const MaskSpec& mask) {
  return mask.cu_seqlens.empty() ? 0 : static_cast<std::int64_t>(mask.cu_seqlens.size()) - 1;
}

LayerReport layer_report(const Communicator& world, std::int64_t index, const MaskSpec& mask,
                         kernels::Direction direction, const CallReport& mine) {
  std::array<std::uint64_t, 2> counts{mine.messages, mine.bytes_sent};
  world.sum(counts);
  std::array<double, 1> flops{mine.flops};
  world.sum(flops);
  std::array<double, 2> seconds{mine.seconds, mine.exposed_comm_seconds};
  world.max(seconds);
  return {.index = index,
          .mask = without_documents(mask),
          .documents = documents_in(mask),
          .direction = direction,
          .messages = counts[0],
          .bytes_sent = counts[1],
          .flops = flops[0],
          .seconds = seconds[0],
          .attention_seconds = seconds[0],
          .exposed_comm_seconds = seconds[1]};
}

std::string layer_table(const std::vector<LayerReport>& layers) {
  Table table({"layer", "kind", "direction", "messages", "sent", "seconds", "TFLOP/s", "exposed"});
  for (const LayerReport& layer : layers) {
    const double seconds = std::max(layer.seconds, 1e-9);  // a clock tick: empty inputs take none
    table.add({std::to_string(layer.index), kind_of_layer(layer.mask), std::string(word(layer.direction)),
               std::to_string(layer.messages), bytes_text(static_cast<double>(layer.bytes_sent)),
               fmt::format("{:.3f}", layer.seconds), fmt::format("{:.4f}", rate(layer)),
               fmt::format("{:.1f} %", 100 * layer.exposed_comm_seconds / seconds)});
  }
  return table.text();
}

Json to_json(const Report& report) {
  Json layers = Json::array();
  for (const LayerReport& layer : report.layers) layers.push_back(to_json(layer));
  return {{"command", report.command},
          {"version", ANNULUS_VERSION},
          {"ranks", report.ranks},
          {"threads", report.threads},
          {"backend", report.backend},
          {"exchange", report.exchange},
          {"mover", report.mover.empty() ? Json() : Json(report.mover)},
          {"deterministic", report.deterministic},
          {"layout", report.layout},
          {"seq_len", report.seq_len},
          {"seconds", report.seconds},
          {"tflops", tflops(report)},
          {"peak_rss_bytes", report.peak_rss_bytes},
          {"layers", layers},
          {"verify", or_null(report.verify)},
          {"digest", or_null(report.digest)}};
}

void write_report(const std::string& path, const Json& json) {
  if (path.empty()) return;
  const std::string text = json.dump(2) + "\n";
  if (path == "-") return fmt::print("{}", text);
  ReplacedFile file(path);
  file.append(text);
  file.commit();
}

ReportFile::ReportFile(const Communicator& world, std::string path) : path_(std::move(path)) {
  together(world, [&] {
    if (world.rank() == 0 && !path_.empty() && path_ != "-") const ReplacedFile probe(path_);
  });
}

void ReportFile::write(const Communicator& world, const Json& json) const {
  if (path_.empty()) return;
  together(world, [&] {
    if (world.rank() == 0) write_report(path_, json);
  });
}

}  // namespace annulus::launch
