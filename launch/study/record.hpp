/// What a study files: its header, and a line per point.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>

#include "launch/study/options.hpp"
#include "launch/study/sweep.hpp"
#include "runtime/comm/communicator.hpp"
#include "runtime/forecast/machine.hpp"

namespace annulus::launch {

/// Collective. Which machine and kind of study: a file of others is not mixed with it.
nlohmann::json study_header(const Communicator& world, const StudyOptions& options, const forecast::Placement& job);

/// How points are measured and what their forecasts start from, as filed with each.
nlohmann::json study_how(const StudyOptions& options, const forecast::Machine& machine);

/// Collective over the ranks of the point: measures it, and puts the forecast beside it.
nlohmann::json measured_record(const Communicator& ranks, const StudyPoint& point, const StudyOptions& options,
                               const forecast::Machine& machine);

}  // namespace annulus::launch
