/// Reads records field by field; what is absent or null stays empty, what has a wrong type is refused.
// SPDX-License-Identifier: Apache-2.0
#include "launch/study/points.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "launch/memory.hpp"
#include "launch/study/kept.hpp"
#include "runtime/checkpoint/manifest.hpp"

namespace annulus::launch {
namespace {

using nlohmann::json;

/// A record with its place, for messages.
struct Line {
  const json& record;
  std::size_t number;
  const std::string& path;

  [[noreturn]] void refuse(const std::string& place, const char* wanted) const {
    throw InputError(
        fmt::format("line {} of '{}' has no {} at {} (a report needs it); try annulus study with another file", number,
                    path, wanted, place));
  }
  /// Null if there is nothing, or null.
  const json* find(const std::string& place) const {
    const json::json_pointer pointer(place);
    if (!record.contains(pointer)) return nullptr;
    const json& value = record.at(pointer);
    return value.is_null() ? nullptr : &value;
  }
  std::optional<double> number_at(const std::string& place) const {
    const json* value = find(place);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number()) refuse(place, "number");
    return value->get<double>();
  }
  /// A whole number of at least `min`, small enough to be exact as a double.
  std::int64_t count_at(const std::string& place, std::int64_t min) const {
    const json* value = find(place);
    if (value == nullptr || !value->is_number_integer()) refuse(place, "whole number");
    const double number_there = value->get<double>();
    if (!(number_there >= static_cast<double>(min) && number_there < 0x1p53)) refuse(place, "sensible whole number");
    return static_cast<std::int64_t>(number_there);
  }
  std::string text_at(const std::string& place) const {
    const json* value = find(place);
    if (value == nullptr || !value->is_string()) refuse(place, "text");
    return checkpoint::printable_line(value->get<std::string>());
  }
  /// Numbers of a list or one number; empty if there is nothing.
  std::vector<double> numbers_at(const std::string& place) const {
    const json* value = find(place);
    if (value == nullptr) return {};
    if (value->is_number()) return {value->get<double>()};
    const bool sound = value->is_array() &&
                       std::all_of(value->begin(), value->end(), [](const json& item) { return item.is_number(); });
    if (!sound) refuse(place, "list of numbers");
    return value->get<std::vector<double>>();
  }
  Estimate estimate_of(const std::string& place) const {
    return {number_at("/measured" + place), number_at("/predicted" + place)};
  }
};

std::optional<Range> range_of(const std::vector<double>& values) {
  if (values.size() < 2) return std::nullopt;
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return Range{*low, *high};
}

std::optional<double> largest_of(const std::vector<double>& values) {
  if (values.empty()) return std::nullopt;
  return *std::max_element(values.begin(), values.end());
}

std::optional<double> share_of(std::optional<double> part, std::optional<double> whole) {
  if (!part || !whole || *whole <= 0) return std::nullopt;
  return *part / *whole;
}

/// Sums while layers come, means when all have.
class LayerMeans {
 public:
  void add(const Line& line, const std::string& side, std::optional<double> Estimate::*member) {
    const json* layers = line.find(side + "/layers");
    if (layers == nullptr) return;
    if (!layers->is_array()) line.refuse(side + "/layers", "list");
    for (std::size_t i = 0; i < layers->size(); ++i) add_layer(line, fmt::format("{}/layers/{}", side, i), member);
  }
  std::vector<LayerPoint> means() const {
    std::vector<LayerPoint> found;
    for (const auto& [name, sum] : sums_) {
      LayerPoint point = sum.totals;
      for (Estimate* total : {&point.seconds, &point.exposed_seconds, &point.bytes_sent}) {
        if (total->measured) *total->measured /= static_cast<double>(sum.measured);
        if (total->predicted) *total->predicted /= static_cast<double>(sum.predicted);
      }
      point.layers = sum.measured;
      found.push_back(point);
    }
    return found;
  }

 private:
  struct Sum {
    LayerPoint totals;
    std::int64_t measured = 0;
    std::int64_t predicted = 0;
  };

  void add_layer(const Line& line, const std::string& place, std::optional<double> Estimate::*member) {
    const std::string kind = line.text_at(place + "/kind");
    const std::string direction = line.text_at(place + "/direction");
    Sum& sum = sums_[{direction == "forward" ? 0 : 1, kind, direction}];
    sum.totals.kind = kind;
    sum.totals.direction = direction;
    ++(member == &Estimate::measured ? sum.measured : sum.predicted);
    const auto plus = [&](Estimate& total, const char* field) {
      if (const auto value = line.number_at(place + field)) total.*member = (total.*member).value_or(0) + *value;
    };
    plus(sum.totals.seconds, "/seconds");
    plus(sum.totals.exposed_seconds, "/exposed_comm_seconds");
    plus(sum.totals.bytes_sent, "/bytes_sent");
  }

  std::map<std::tuple<int, std::string, std::string>, Sum> sums_;  ///< forward first
};

TimePoint time_point(const Line& line, const std::string& scheme) {
  TimePoint point;
  point.scheme = scheme;
  point.ranks = line.count_at("/point/ranks", 1);
  point.seq_len = line.count_at("/point/seq_len", 0);
  point.seconds = line.estimate_of("/seconds");
  point.seconds_range = range_of(line.numbers_at("/measured/samples"));
  point.tflops = line.number_at("/measured/tflops");
  point.cpu_share = line.number_at("/measured/cpu_share");
  point.verified_error = line.number_at("/measured/verify/max_rel_error");
  const Estimate exposed = line.estimate_of("/exposed_comm_seconds");
  point.exposed_share = {share_of(exposed.measured, point.seconds.measured),
                         share_of(exposed.predicted, point.seconds.predicted)};
  const std::vector<double> memory = line.numbers_at("/measured/peak_bytes");
  point.memory_bytes = {largest_of(memory), largest_of(line.numbers_at("/predicted/peak_bytes"))};
  point.memory_range = range_of(memory);
  LayerMeans layers;
  layers.add(line, "/measured", &Estimate::measured);
  layers.add(line, "/predicted", &Estimate::predicted);
  point.layers = layers.means();
  return point;
}

CapacityPoint capacity_point(const Line& line, const std::string& scheme) {
  const json* tried = line.find("/measured/tried");
  if (tried != nullptr && !tried->is_array()) line.refuse("/measured/tried", "list");
  return {.scheme = scheme,
          .ranks = line.count_at("/point/ranks", 1),
          .budget_bytes = line.number_at("/measured/budget_bytes"),
          .longest = line.estimate_of("/longest_seq_len"),
          .ideal = {},
          .tried = tried == nullptr ? 0 : tried->size()};
}

/// What may tell a point from others of its scheme, "heads" or "model.seed": not what a report goes over.
std::map<std::string, json> traits_of(const json& point) {
  std::map<std::string, json> traits;
  for (const auto& [name, value] : point.items()) {
    if (name != "ranks" && name != "seq_len" && name != "model") traits[name] = value;
  }
  const json model = point.value("model", json::object());
  for (const auto& [name, value] : model.items()) {
    if (!point.contains(name)) traits["model." + name] = value;
  }
  return traits;
}

/// A file may hold what a scheme does not name: other heads, windows, budgets. A trait that differs within a scheme joins
/// the label, so that no series mixes them; threads do not where they follow the ranks.
std::set<std::string> telling_traits(const std::vector<Line>& lines) {
  std::map<std::pair<std::string, std::string>, json> first;
  std::set<std::string> telling;
  for (const Line& line : lines) {
    const json& point = line.record.at("point");
    const std::string ranks = point.value("ranks", json()).dump();
    for (const auto& [name, value] : traits_of(point)) {
      const std::string beside = line.text_at("/scheme") + (name == "threads" ? " " + ranks : "");
      const auto [place, is_new] = first.try_emplace({beside, name}, value);
      if (!is_new && place->second != value) telling.insert(name);
    }
  }
  return telling;
}

std::string trait_text(const std::string& name, const json& value) {
  if (name == "budget_bytes" && value.is_number()) return "budget=" + bytes_text(value.get<double>());
  const std::string text =
      value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', true, json::error_handler_t::replace);
  return checkpoint::printable_line(name + "=" + text);
}

std::string label_of(const Line& line, const std::set<std::string>& telling) {
  std::string label = line.text_at("/scheme");
  for (const auto& [name, value] : traits_of(line.record.at("point"))) {
    if (telling.contains(name)) label += " " + trait_text(name, value);
  }
  return label;
}

/// The rate of one rank, in units that are the same within a series; empty if unknown.
std::optional<double> rank_rate(const Study& study, const TimePoint& point, std::optional<double> seconds) {
  std::optional<double> work;
  if (point.tflops && point.seconds.measured) work = *point.tflops * *point.seconds.measured;
  if (!work && study.kind != "weak") work = 1;
  if (!work || !seconds || *seconds <= 0) return std::nullopt;
  return *work / *seconds / static_cast<double>(point.ranks);
}

void add_efficiencies(Study& study) {
  std::map<std::pair<std::string, double>, std::vector<TimePoint*>> series;
  for (TimePoint& point : study.times) series[{point.scheme, series_of(study, point)}].push_back(&point);
  for (auto& [name, points] : series) {
    const auto [least, most] =
        std::minmax_element(points.begin(), points.end(), [](auto* a, auto* b) { return a->ranks < b->ranks; });
    if ((*least)->ranks == (*most)->ranks) continue;
    const TimePoint base = **least;
    for (TimePoint* point : points) {
      point->efficiency = {
          share_of(rank_rate(study, *point, point->seconds.measured), rank_rate(study, base, base.seconds.measured)),
          share_of(rank_rate(study, *point, point->seconds.predicted), rank_rate(study, base, base.seconds.predicted))};
    }
  }
}

void add_ideals(std::vector<CapacityPoint>& points) {
  std::map<std::string, const CapacityPoint*> base;  // the points come by scheme and ranks
  for (CapacityPoint& point : points) {
    const CapacityPoint& least = *base.try_emplace(point.scheme, &point).first->second;
    if (!least.longest.measured) continue;
    point.ideal = *least.longest.measured * static_cast<double>(point.ranks) / static_cast<double>(least.ranks);
  }
}

void note_when(const Line& line, Study& study) {
  if (line.find("/when") == nullptr) return;
  const std::string when = line.text_at("/when");
  if (study.first.empty() || when < study.first) study.first = when;
  study.last = std::max(study.last, when);
}

void note_machine(const Line& line, Study& study) {
  if (line.find("/how/predicted_from") == nullptr) return;
  const bool has_hash = line.find("/how/predicted_from/hash") != nullptr;
  const std::string from =
      machine_label(line.text_at("/how/predicted_from/machine"), line.text_at("/how/predicted_from/source"),
                    has_hash ? line.text_at("/how/predicted_from/hash") : "");
  if (std::ranges::find(study.predicted_from, from) == study.predicted_from.end()) study.predicted_from.push_back(from);
}

/// The last record of every key, in the order of the file.
std::vector<Line> current_lines(const StudyContent& content, const std::string& path) {
  std::map<std::string, std::size_t> last;
  for (std::size_t i = 0; i < content.records.size(); ++i) last[content.records[i].at("key")] = i;
  std::vector<Line> lines;
  for (std::size_t i = 0; i < content.records.size(); ++i) {
    if (last[content.records[i].at("key")] == i) lines.push_back({content.records[i], i + 2, path});
  }
  return lines;
}

}  // namespace

std::optional<double> Estimate::relative_error() const {
  if (!measured || !predicted || *measured == 0) return std::nullopt;
  return (*predicted - *measured) / *measured;
}

Estimate TimePoint::cpu_seconds() const {
  Estimate held = seconds;
  if (held.measured) *held.measured *= std::min(1.0, cpu_share.value_or(1));
  return held;
}

Study study_from(const StudyContent& content, const std::string& path) {
  Study study;
  study.kind = Line{content.header, 1, path}.text_at("/study");
  study.header = content.header;
  const std::vector<Line> lines = current_lines(content, path);
  const std::set<std::string> telling = telling_traits(lines);
  for (const Line& line : lines) {
    const std::string label = label_of(line, telling);
    note_when(line, study);
    note_machine(line, study);
    if (line.find("/measured/longest_seq_len") != nullptr || line.find("/predicted/longest_seq_len") != nullptr) {
      study.longest.push_back(capacity_point(line, label));
    } else {
      study.times.push_back(time_point(line, label));
    }
  }
  std::sort(study.times.begin(), study.times.end(), [](const TimePoint& a, const TimePoint& b) {
    return std::tie(a.scheme, a.seq_len, a.ranks) < std::tie(b.scheme, b.seq_len, b.ranks);
  });
  std::sort(study.longest.begin(), study.longest.end(), [](const CapacityPoint& a, const CapacityPoint& b) {
    return std::tie(a.scheme, a.ranks) < std::tie(b.scheme, b.ranks);
  });
  add_efficiencies(study);
  add_ideals(study.longest);
  return study;
}

double series_of(const Study& study, const TimePoint& point) {
  const auto length = static_cast<double>(point.seq_len);
  return study.kind == "weak" ? std::round(length / static_cast<double>(point.ranks)) : length;
}

}  // namespace annulus::launch
