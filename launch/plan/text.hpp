/// Tables of `annulus plan`, for people and as JSON.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "launch/plan/point.hpp"
#include "launch/report.hpp"

namespace annulus::launch {

/// The longest context of a rank count, or the fewest ranks of a context.
struct Extreme {
  std::int64_t seq_len = 0;  ///< 0: nothing fits
  int ranks = 0;             ///< 0: none are enough
  bool goes_on = false;      ///< the search ended there; more would fit
  std::optional<PlanPoint> point;
};

/// Bytes that a rank of so many may take; 0: nothing says.
using Budget = std::function<std::uint64_t(std::int64_t ranks)>;

/// One line per point.
std::string points_table(const std::vector<PlanPoint>& points, const Budget& budget);
std::string longest_table(const std::vector<Extreme>& longest);
std::string fewest_table(const std::vector<Extreme>& fewest, std::int64_t most_ranks);
/// Quickest first, and why the others are slower.
std::string schemes_table(const std::vector<PlanPoint>& schemes);
/// Rows per rank from which hops hide behind compute.
std::string thresholds_table(const AttentionSpec& spec, const forecast::Machine& machine, int threads, int ranks_of_node);
/// As memory_plan: item by item.
std::string items_table(const PlanPoint& point);

Json point_to_json(const PlanPoint& point);

}  // namespace annulus::launch
