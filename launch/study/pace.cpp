/// Forecasts, corrected by what was seen: verification, set-up and others on the machine are in no forecast.
// SPDX-License-Identifier: Apache-2.0
#include "launch/study/pace.hpp"

#include <algorithm>

#include "launch/study/search.hpp"

namespace annulus::launch {
namespace {

constexpr double usual_tries = 6;  ///< of a search
constexpr double shortest = 0.01;  ///< seconds; below, set-up is most of a point and tells nothing of longer ones

}  // namespace

double Pace::forecast(const StudyPoint& point) const {
  PointRequest request = point.request;
  const bool searched = options_.kind == StudyKind::capacity;
  if (searched) request.seq_len = predicted_longest(request, static_cast<std::uint64_t>(options_.memory));
  if (request.seq_len == 0) return 0;
  const double runs = searched ? usual_tries : static_cast<double>(options_.runs());
  return runs * plan_point(request, &machine_).totals().seconds;
}

void Pace::note(const StudyPoint& point, double seconds) {
  slowness_ = std::max(slowness_, seconds / std::max(forecast(point), shortest));
}

}  // namespace annulus::launch
