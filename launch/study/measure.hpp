/// Measures one point of a study on the ranks that take part.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "launch/plan/point.hpp"
#include "launch/samples.hpp"
#include "runtime/comm/communicator.hpp"
#include "runtime/stack/comparison.hpp"
#include "runtime/stack/stack.hpp"

namespace annulus::launch {

struct MeasureHow {
  int repeats = 5;
  int warmups = 1;
  std::int64_t verify_rows = 0;
};

/// What a point took, the same on every rank. Seconds are those of layers, as in run.
struct MeasuredPoint {
  std::vector<double> samples;     ///< seconds of each repeat
  double seconds = 0;              ///< their median
  double spread = 0;               ///< (p90 - p10) / median
  double exposed_seconds = 0;      ///< median over repeats, of sums over layers
  double imbalance = 1;            ///< compute of the rank that computes most, over the mean
  double cpu_share = 1;            ///< CPU time of the ranks in the repeats, over their time and threads
  double flops = 0;
  std::vector<std::uint64_t> peak_bytes;    ///< by rank, above what the process held before
  std::vector<stack::LayerCost> layers;     ///< medians over repeats
  std::optional<stack::LayerErrors> errors; ///< the largest of all layers
  std::int64_t verified_rows = 0;
  std::string exchange;            ///< as it was resolved
};

/// Collective over `comm`, whose size is the point's. Tokens are a function of the position. Throws ResourceError on all ranks
/// without memory, Error(ExitCode::verification) beyond the tolerance.
MeasuredPoint measure_point(const Communicator& comm, const PlanPoint& point, const PointRequest& request,
                            const MeasureHow& how);

}  // namespace annulus::launch
