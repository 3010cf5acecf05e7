/// How long points take, so that a study under a time limit begins none that it cannot end.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "launch/study/options.hpp"
#include "launch/study/sweep.hpp"
#include "runtime/forecast/machine.hpp"

namespace annulus::launch {

/// Forecasts, corrected by points that are done: of this start or of an earlier one. Keeps references to its arguments.
/// Local.
class Pace {
 public:
  Pace(const StudyOptions& options, const forecast::Machine& machine) : options_(options), machine_(machine) {}

  /// Seconds of all runs of a point and of what is beside them; 0 if no forecast says anything. Throws InputError if the
  /// machine has no such kernel or link.
  double expected(const StudyPoint& point) const;
  /// `record` as measured_record() makes it; tells nothing where it lacks the times. Throws as expected().
  void note(const StudyPoint& point, const nlohmann::json& record);

 private:
  struct Seen {
    double forecast = 0;  ///< seconds of one run
    double ratio = 1;     ///< of one measured run to that
    double beside = 0;    ///< seconds of set-up, verification and whatever else no run counts
  };
  double forecast(const StudyPoint& point) const;
  double ratio_for(double forecast) const;

  const StudyOptions& options_;
  const forecast::Machine& machine_;
  std::vector<Seen> seen_;
};

}  // namespace annulus::launch
