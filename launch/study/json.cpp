/// Points as JSON, for the script that draws them; what is missing is null.
// SPDX-License-Identifier: Apache-2.0
#include "launch/study/points.hpp"

namespace annulus::launch {
namespace {

Json or_null(std::optional<double> value) { return value ? Json(*value) : Json(nullptr); }

Json to_json(const Estimate& estimate) {
  return {{"measured", or_null(estimate.measured)}, {"predicted", or_null(estimate.predicted)}};
}

Json to_json(const std::optional<Range>& range) {
  if (!range) return nullptr;
  return Json::array({range->low, range->high});
}

Json to_json(const LayerPoint& point) {
  return {{"kind", point.kind},
          {"direction", point.direction},
          {"seconds", to_json(point.seconds)},
          {"exposed_comm_seconds", to_json(point.exposed_seconds)},
          {"bytes_sent", to_json(point.bytes_sent)}};
}

Json to_json(const Study& study, const TimePoint& point) {
  Json layers = Json::array();
  for (const LayerPoint& layer : point.layers) layers.push_back(to_json(layer));
  return {{"scheme", point.scheme},
          {"ranks", point.ranks},
          {"seq_len", point.seq_len},
          {"series", series_of(study, point)},
          {"seconds", to_json(point.seconds)},
          {"seconds_range", to_json(point.seconds_range)},
          {"efficiency", to_json(point.efficiency)},
          {"exposed_share", to_json(point.exposed_share)},
          {"memory_bytes", to_json(point.memory_bytes)},
          {"memory_range", to_json(point.memory_range)},
          {"layers", layers}};
}

Json to_json(const CapacityPoint& point) {
  return {{"scheme", point.scheme},
          {"ranks", point.ranks},
          {"longest", to_json(point.longest)},
          {"ideal", or_null(point.ideal)},
          {"budget_bytes", or_null(point.budget_bytes)}};
}

}  // namespace

Json to_json(const Study& study) {
  Json times = Json::array();
  for (const TimePoint& point : study.times) times.push_back(to_json(study, point));
  Json longest = Json::array();
  for (const CapacityPoint& point : study.longest) longest.push_back(to_json(point));
  return {{"study", study.kind}, {"times", times}, {"longest", longest}};
}

}  // namespace annulus::launch
