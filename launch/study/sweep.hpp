/// The points of a study: which configurations, under which keys. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "launch/plan/point.hpp"
#include "launch/study/file.hpp"
#include "launch/study/options.hpp"

namespace annulus::launch {

struct StudyPoint {
  PointRequest request;   ///< seq_len 0 in capacity studies
  nlohmann::json point;   ///< what it is filed under, as read by report
  std::string key;
  std::string scheme;     ///< "zigzag, shared, resident, LG, f32"
};

struct Sweep {
  std::vector<StudyPoint> points;   ///< each key once, small ones first
  std::vector<std::string> skipped; ///< what the model or the placement does not allow, and why
};

/// `job`: all ranks. Throws UsageError for rank counts beyond it.
Sweep make_sweep(const StudyOptions& options, const forecast::Placement& job);

}  // namespace annulus::launch
