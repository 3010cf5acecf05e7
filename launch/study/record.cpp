/// Measurement and forecast side by side, as JSON.
// SPDX-License-Identifier: Apache-2.0
#include "launch/study/record.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <span>
#include <utility>

#include "kernels/base/error.hpp"
#include "kernels/base/stopwatch.hpp"
#include "launch/machine_file.hpp"
#include "launch/machine_name.hpp"
#include "launch/memory.hpp"
#include "launch/report.hpp"
#include "launch/study/measure.hpp"
#include "launch/study/search.hpp"
#include "runtime/checkpoint/checksum.hpp"

namespace annulus::launch {
namespace {

using nlohmann::json;

std::string now_text() {
  const std::time_t now = std::time(nullptr);
  std::array<char, 32> text{};
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text.data();
}

json measured_json(const MeasuredPoint& measured, const stack::ModelSpec& model) {
  json layers = json::array();
  const stack::LayerVariants variants(model);
  for (const stack::LayerCost& layer : measured.layers) {
    const WindowSize window = variants.spec(layer.index).attention.mask.window_size;
    layers.push_back({{"kind", stack::name(model.kind(layer.index))},
                      {"direction", word(layer.direction)},
                      {"window", window.is_set() ? json{window.left, window.right} : json(nullptr)},
                      {"seconds", layer.seconds},
                      {"exposed_comm_seconds", layer.exposed_comm_seconds},
                      {"bytes_sent", layer.bytes_sent},
                      {"messages", layer.messages}});
  }
  json found{{"seconds", measured.seconds},
             {"samples", measured.samples},
             {"spread", measured.spread},
             {"tflops", measured.flops / measured.seconds * 1e-12},
             {"exposed_comm_seconds", measured.exposed_seconds},
             {"imbalance", measured.imbalance},
             {"cpu_share", measured.cpu_share},
             {"peak_bytes", measured.peak_bytes},
             {"exchange", measured.exchange},
             {"layers", layers},
             {"verify", nullptr}};
  if (measured.errors) {
    found["verify"] = {{"rows", measured.verified_rows},
                       {"max_abs_error", measured.errors->max_abs_error},
                       {"max_rel_error", measured.errors->max_rel_error}};
  }
  return found;
}

json predicted_json(const PlanPoint& point) {
  json layers = json::array();
  for (const forecast::LayerForecast& layer : point.layers) {
    layers.push_back({{"kind", stack::name(layer.kind)},
                      {"direction", word(layer.direction)},
                      {"seconds", layer.seconds()},
                      {"exposed_comm_seconds", layer.attention.exposed_seconds},
                      {"bytes_sent", layer.attention.bytes_sent}});
  }
  const forecast::StackTotals totals = point.totals();
  return {{"seconds", totals.seconds},
          {"exposed_comm_seconds", totals.exposed_seconds},
          {"peak_bytes", point.bytes()},
          {"layers", layers}};
}

void add_times(json& record, const Communicator& ranks, const StudyPoint& point, const StudyOptions& options,
               const forecast::Machine& machine) {
  const PlanPoint plan = plan_point(point.request, &machine);
  check_memory(ranks, plan.bytes(), fmt::format("a point of {} tokens", point.request.seq_len));
  const MeasureHow how{static_cast<int>(options.repeats), static_cast<int>(options.warmups), options.verify_rows};
  const MeasuredPoint measured = measure_point(ranks, plan, point.request, how);
  record["measured"] = measured_json(measured, plan.model);
  record["predicted"] = predicted_json(plan);
}

void add_longest(json& record, const Communicator& ranks, const StudyPoint& point, const StudyOptions& options) {
  const LongestContext longest = search_longest(ranks, point.request, static_cast<std::uint64_t>(options.memory));
  if (longest.seq_len == 0) {
    const TriedContext& least = longest.tried.back();
    throw ResourceError(fmt::format("--memory {} fits no context with ranks {} (a rank took {} for a length of {}); try more",
                                    options.memory, ranks.size(), bytes_text(static_cast<double>(least.peak_bytes)), least.seq_len));
  }
  json tried = json::array();
  for (const TriedContext& one : longest.tried) {
    tried.push_back({{"seq_len", one.seq_len}, {"fits", one.fits}, {"seconds", one.seconds}, {"peak_bytes", one.peak_bytes}});
  }
  record["measured"] = {{"longest_seq_len", longest.seq_len}, {"budget_bytes", options.memory}, {"tried", tried}};
  record["predicted"] = {{"longest_seq_len", longest.predicted}};
}

/// Of what a machine file says, whatever its comments and its place.
std::string content_hash(const forecast::Machine& machine) {
  const std::string text = machine_text(machine);
  return checkpoint::hex(checkpoint::checksum_of(std::as_bytes(std::span(text))));
}

}  // namespace

json study_header(const Communicator& world, const StudyOptions& options, const forecast::Placement& job) {
  const std::string cpu = processor_name();
  const int nodes = job.nodes();
  return {{"study", name(options.kind)},
          {"machine",
           {{"fingerprint", fmt::format("{}, {} x ({})", cpu, nodes, node_text())},
            {"cpu", cpu},
            {"ranks", world.size()},
            {"nodes", nodes}}}};
}

json study_how(const StudyOptions& options, const forecast::Machine& machine) {
  // what a study measures itself has another date every day, and may go on at another host of its kind
  const bool calibrated = options.machine.empty();
  json from{{"machine", calibrated ? "this machine" : machine.name}, {"source", calibrated ? "calibrated by the study" : machine.source}};
  if (!calibrated) from["hash"] = content_hash(machine);
  json how{{"predicted_from", std::move(from)}};
  if (options.kind == StudyKind::capacity) return how;
  how["repeats"] = options.repeats;
  how["warmups"] = options.warmups;
  how["verify_rows"] = options.verify_rows;
  return how;
}

json measured_record(const Communicator& ranks, const StudyPoint& point, const StudyOptions& options,
                     const forecast::Machine& machine) {
  json record{{"key", point.key}, {"point", point.point}, {"scheme", point.scheme}};
  const Stopwatch watch;
  if (options.kind == StudyKind::capacity) {
    add_longest(record, ranks, point, options);
  } else {
    add_times(record, ranks, point, options, machine);
  }
  record["took_seconds"] = watch.seconds();
  record["how"] = study_how(options, machine);
  record["when"] = now_text();
  return record;
}

}  // namespace annulus::launch
