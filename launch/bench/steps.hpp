/// What it costs that keys come block by block: chained ring steps against one call over the same keys.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "launch/bench/kernel.hpp"

namespace annulus::launch {

/// Time of one call over that of `shape.steps` chained ones, attending alone, on one core by its CPU time or on one GPU by
/// its own: 1 if carrying (O, m, l) from step to step costs nothing.
struct StepsRate {
  KernelShape shape;
  Samples of_one_call;
};

/// Local. Each sample is one call, then the steps.
StepsRate measure_steps(const KernelShape& shape, std::int64_t samples);

std::string steps_table(const std::vector<StepsRate>& rates);
Json steps_to_json(const std::vector<StepsRate>& rates);

}  // namespace annulus::launch
