/// Numbers in units that people read.
// SPDX-License-Identifier: Apache-2.0
#include "launch/study/tables.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "launch/memory.hpp"
#include "launch/run/text.hpp"
#include "launch/samples.hpp"
#include "runtime/checkpoint/manifest.hpp"

namespace annulus::launch {
namespace {

using Number = std::optional<double>;

std::string text_or_dash(Number value, std::string (*text)(double)) { return value ? text(*value) : "-"; }
std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }
std::string percent_points(double share) { return fmt::format("{:.1f} pp", 100 * share); }
std::string rate(double tflops) { return fmt::format("{:.4g}", tflops); }

/// As options take it: 64k, 1M; other numbers as they are.
std::string tokens(double count) {
  constexpr double k = 1024;
  if (count >= k * k && std::fmod(count, k * k) == 0) return fmt::format("{:.0f}M", count / (k * k));
  if (count >= k && std::fmod(count, k) == 0) return fmt::format("{:.0f}k", count / k);
  return fmt::format("{:.0f}", count);
}

Number half_range(const TimePoint& point) {
  if (!point.seconds_range || !point.seconds.measured || *point.seconds.measured <= 0) return std::nullopt;
  return (point.seconds_range->high - point.seconds_range->low) / 2 / *point.seconds.measured;
}

TitledTable time_table(const Study& study) {
  Table table({"scheme", "ranks", "tokens", "time", "+-", "predicted", "error", "efficiency", "predicted", "TFLOP/s", "CPU"});
  for (const TimePoint& point : study.times) {
    table.add({point.scheme, std::to_string(point.ranks), tokens(static_cast<double>(point.seq_len)),
               text_or_dash(point.seconds.measured, seconds_text), text_or_dash(half_range(point), percent),
               text_or_dash(point.seconds.predicted, seconds_text),
               text_or_dash(point.seconds.relative_error(), percent), text_or_dash(point.efficiency.measured, percent),
               text_or_dash(point.efficiency.predicted, percent), text_or_dash(point.tflops, rate),
               text_or_dash(point.cpu_share, percent)});
  }
  return {"Time",
          "Median of the samples and half their range; the error is that of the prediction. Efficiency: rate per rank, "
          "relative to "
          "the smallest number of ranks of the same scheme and " +
              std::string(study.kind == "weak" ? "tokens per rank." : "length.") +
              " CPU: time that the\nranks had a core for each of their threads; well under 100 % others used the machine, and "
              "no prediction knows of them.",
          table};
}

TitledTable cost_table(const Study& study) {
  Table table({"scheme", "ranks", "tokens", "exposed", "predicted", "memory per rank", "predicted", "error"});
  for (const TimePoint& point : study.times) {
    table.add(
        {point.scheme, std::to_string(point.ranks), tokens(static_cast<double>(point.seq_len)),
         text_or_dash(point.exposed_share.measured, percent), text_or_dash(point.exposed_share.predicted, percent),
         text_or_dash(point.memory_bytes.measured, bytes_text), text_or_dash(point.memory_bytes.predicted, bytes_text),
         text_or_dash(point.memory_bytes.relative_error(), percent)});
  }
  return {"Communication and memory",
          "Exposed: the share of the time in which the rank that waited most did so for blocks, rows or sums of others, on the way "
          "or not sent yet; where ranks\nread in place (shared) a slower rank costs time without being waited for. Memory: the "
          "peak of the largest rank.",
          table};
}

TitledTable layer_kinds_table(const Study& study) {
  Table table({"scheme", "ranks", "tokens", "kind", "direction", "layers", "time per layer", "predicted", "error",
               "exposed", "sent"});
  for (const TimePoint& point : study.times) {
    for (const LayerPoint& layer : point.layers) {
      table.add({point.scheme, std::to_string(point.ranks), tokens(static_cast<double>(point.seq_len)), layer.kind,
                 layer.direction, std::to_string(layer.layers), text_or_dash(layer.seconds.measured, seconds_text),
                 text_or_dash(layer.seconds.predicted, seconds_text),
                 text_or_dash(layer.seconds.relative_error(), percent),
                 text_or_dash(layer.exposed_seconds.measured, seconds_text),
                 text_or_dash(layer.bytes_sent.measured, bytes_text)});
    }
  }
  return {"Layers", "Means over the layers of a kind; sent are the bytes of all ranks in one layer.", table};
}

TitledTable longest_table(const Study& study) {
  Table table({"scheme", "ranks", "memory per rank", "longest", "predicted", "error", "ideal", "of ideal", "tried"});
  for (const CapacityPoint& point : study.longest) {
    const Number share = point.longest.measured && point.ideal && *point.ideal > 0
                             ? Number(*point.longest.measured / *point.ideal)
                             : std::nullopt;
    table.add({point.scheme, std::to_string(point.ranks), text_or_dash(point.budget_bytes, bytes_text),
               text_or_dash(point.longest.measured, tokens), text_or_dash(point.longest.predicted, tokens),
               text_or_dash(point.longest.relative_error(), percent), text_or_dash(point.ideal, tokens),
               text_or_dash(share, percent), std::to_string(point.tried)});
  }
  return {"Longest context", "Tokens that fit the memory given to a rank. Ideal: in proportion to the ranks.", table};
}

/// Sizes of errors, whatever their sign.
struct Errors {
  Samples time;
  Samples cpu_time;  ///< of the time that the ranks had their cores
  Samples layer;
  Samples exposed;  ///< differences of shares
  Samples memory;
  Samples longest;
};

void add_size(Samples& samples, Number error) {
  if (error) samples.add(std::abs(*error));
}

void add_errors(const TimePoint& point, Errors& errors) {
  add_size(errors.time, point.seconds.relative_error());
  if (const Number error = point.cpu_seconds().relative_error(); point.cpu_share) add_size(errors.cpu_time, error);
  add_size(errors.memory, point.memory_bytes.relative_error());
  for (const LayerPoint& layer : point.layers) add_size(errors.layer, layer.seconds.relative_error());
  if (point.exposed_share.measured && point.exposed_share.predicted) {
    errors.exposed.add(std::abs(*point.exposed_share.predicted - *point.exposed_share.measured));
  }
}

std::string median_and_worst(const Samples& samples, std::string (*text)(double)) {
  return samples.empty() ? "-" : fmt::format("{} ({})", text(samples.median()), text(samples.quantile(1)));
}

TitledTable error_table(const Study& study) {
  std::map<std::string, Errors> by_scheme;
  Errors all;
  for (const TimePoint& point : study.times) {
    add_errors(point, by_scheme[point.scheme]);
    add_errors(point, all);
  }
  for (const CapacityPoint& point : study.longest) {
    add_size(by_scheme[point.scheme].longest, point.longest.relative_error());
    add_size(all.longest, point.longest.relative_error());
  }
  Table table({"scheme", "time", "CPU time", "time per layer", "exposed", "memory", "longest context"});
  const auto add = [&table](const std::string& name, const Errors& errors) {
    table.add({name, median_and_worst(errors.time, percent), median_and_worst(errors.cpu_time, percent),
               median_and_worst(errors.layer, percent), median_and_worst(errors.exposed, percent_points),
               median_and_worst(errors.memory, percent), median_and_worst(errors.longest, percent)});
  };
  for (const auto& [scheme, errors] : by_scheme) add(scheme, errors);
  if (by_scheme.size() > 1) add("all", all);
  return {"Errors of the predictions",
          "Median and, in parentheses, the largest of their sizes; for the exposed share the difference in percentage "
          "points.\nCPU time: against the measured time less what others on the machine took of it.",
          table};
}

/// What the header has at `place`, or empty.
std::string header_text(const nlohmann::json& header, const char* place) {
  const nlohmann::json value = header.value(nlohmann::json::json_pointer(place), nlohmann::json());
  if (value.is_null()) return {};
  return checkpoint::printable_line(value.is_string() ? value.get<std::string>() : value.dump());
}

/// Of the points: jobs of several sizes may have measured them.
std::string ranks_text(const Study& study) {
  std::set<std::int64_t> counts;
  for (const TimePoint& point : study.times) counts.insert(point.ranks);
  for (const CapacityPoint& point : study.longest) counts.insert(point.ranks);
  std::string text;
  for (const std::int64_t count : counts) text += (text.empty() ? "" : ", ") + std::to_string(count);
  return text.empty() ? "-" : text;
}

void add_verification(const Study& study, Facts& facts) {
  std::size_t verified = 0;
  double largest = 0;
  for (const TimePoint& point : study.times) {
    if (!point.verified_error) continue;
    ++verified;
    largest = std::max(largest, *point.verified_error);
  }
  if (verified == 0) return;
  facts.emplace_back("verified", fmt::format("{} points on sampled rows in f64, largest relative error {:.2e}", verified, largest));
}

}  // namespace

Facts study_facts(const Study& study, const std::string& path) {
  Facts facts{{"results", checkpoint::printable_line(path)},
              {"study", study.kind},
              {"points", std::to_string(study.times.size() + study.longest.size())}};
  const std::pair<const char*, const char*> places[] = {{"cpu", "/machine/cpu"},
                                                        {"nodes", "/machine/nodes"},
                                                        {"machine", "/machine/fingerprint"},
                                                        {"annulus", "/version"}};
  for (const auto& [name, place] : places) {
    if (const std::string text = header_text(study.header, place); !text.empty()) facts.emplace_back(name, text);
  }
  facts.emplace_back("ranks", ranks_text(study));
  for (const std::string& from : study.predicted_from) facts.emplace_back("predicted from", from);
  add_verification(study, facts);
  if (!study.first.empty()) facts.emplace_back("measured", fmt::format("{} to {}", study.first, study.last));
  return facts;
}

std::vector<TitledTable> study_tables(const Study& study) {
  std::vector<TitledTable> tables;
  bool has_layers = false;
  for (const TimePoint& point : study.times) has_layers = has_layers || !point.layers.empty();
  if (!study.longest.empty()) tables.push_back(longest_table(study));
  if (!study.times.empty()) {
    tables.push_back(time_table(study));
    tables.push_back(cost_table(study));
  }
  if (has_layers) tables.push_back(layer_kinds_table(study));
  if (!tables.empty()) tables.push_back(error_table(study));
  return tables;
}

}  // namespace annulus::launch
