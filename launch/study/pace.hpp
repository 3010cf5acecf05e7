/// How long points take, so that a study under a time limit begins none that it cannot end.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "launch/study/options.hpp"
#include "launch/study/sweep.hpp"
#include "runtime/forecast/machine.hpp"

namespace annulus::launch {

/// Keeps references to its arguments. Local.
class Pace {
 public:
  Pace(const StudyOptions& options, const forecast::Machine& machine) : options_(options), machine_(machine) {}

  /// Seconds of all runs of a point: their forecast, times the most that a point so far took of its own forecast.
  double expected(const StudyPoint& point) const { return slowness_ * forecast(point); }
  void note(const StudyPoint& point, double seconds);

 private:
  double forecast(const StudyPoint& point) const;

  const StudyOptions& options_;
  const forecast::Machine& machine_;
  double slowness_ = 1;
};

}  // namespace annulus::launch
