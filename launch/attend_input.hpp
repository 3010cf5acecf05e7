/// What `attend` finds in its file, as a spec that the engine takes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "launch/options.hpp"
#include "runtime/annulus.hpp"
#include "runtime/checkpoint/tensor_file.hpp"

namespace annulus::launch {

/// Small inputs are read whole on every rank.
struct AttendProblem {
  AttentionSpec spec;
  std::vector<float> sink;  ///< [heads] if spec.sink, else empty
};

/// The datasets that `attend` knows.
std::vector<std::string> attend_datasets();

/// Local. Throws InputError for missing, misshaped or senseless datasets, UsageError for options that do not fit them.
AttendProblem attend_problem(const TensorReader& file, const AttentionOptions& options);

}  // namespace annulus::launch
