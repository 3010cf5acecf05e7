/// A point that is done tells how far its forecast was off, and what comes once with every point.
// SPDX-License-Identifier: Apache-2.0
#include "launch/study/pace.hpp"

#include <algorithm>
#include <optional>

#include "launch/study/search.hpp"

namespace annulus::launch {
namespace {

using nlohmann::json;

constexpr double usual_tries = 6;  ///< of a search
/// Latencies, of which small points are made, say little of points that take so many times as long.
constexpr double most_growth = 16;

std::optional<double> number_at(const json& record, const char* place) {
  const json::json_pointer pointer(place);
  if (!record.contains(pointer) || !record.at(pointer).is_number()) return std::nullopt;
  return record.at(pointer).get<double>();
}

/// The runs of a point that is done.
struct Runs {
  double count = 0;
  double seconds = 0;  ///< of one
};

Runs runs_of_search(const json& tried) {
  Runs runs;
  double sum = 0;
  for (const json& one : tried) {
    sum += number_at(one, "/seconds").value_or(0);
    ++runs.count;
  }
  if (runs.count > 0) runs.seconds = sum / runs.count;
  return runs;
}

Runs runs_of(const json& record) {
  const json::json_pointer tried("/measured/tried");
  if (record.contains(tried)) return runs_of_search(record.at(tried));
  const double warmups = std::max(1.0, number_at(record, "/how/warmups").value_or(1));
  return {number_at(record, "/how/repeats").value_or(1) + warmups, number_at(record, "/measured/seconds").value_or(0)};
}

}  // namespace

double Pace::forecast(const StudyPoint& point) const {
  PointRequest request = point.request;
  if (options_.kind == StudyKind::capacity) {
    request.seq_len = predicted_longest(request, static_cast<std::uint64_t>(options_.memory));
    if (request.seq_len == 0) return 0;
  }
  return plan_point(request, &machine_).totals().seconds;
}

/// The largest of points about as long; where there are none, that of the longest one.
double Pace::ratio_for(double forecast) const {
  if (seen_.empty()) return 1;
  const double longest = std::ranges::max_element(seen_, {}, &Seen::forecast)->forecast;
  const double least = std::min(longest, forecast / most_growth);
  double ratio = 0;
  for (const Seen& one : seen_) {
    if (one.forecast >= least) ratio = std::max(ratio, one.ratio);
  }
  return ratio;
}

double Pace::expected(const StudyPoint& point) const {
  const double one_run = forecast(point);
  const double runs = options_.kind == StudyKind::capacity ? usual_tries : static_cast<double>(options_.runs());
  double beside = 0;
  for (const Seen& one : seen_) beside = std::max(beside, one.beside);
  return runs * one_run * ratio_for(one_run) + beside;
}

void Pace::note(const StudyPoint& point, const json& record) {
  const double one_run = forecast(point);
  const Runs runs = runs_of(record);
  if (one_run <= 0 || runs.seconds <= 0) return;
  const double all = number_at(record, "/took_seconds").value_or(0);
  seen_.push_back({one_run, runs.seconds / one_run, std::max(0.0, all - runs.count * runs.seconds)});
}

}  // namespace annulus::launch
