/// What `annulus plan` is asked.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "launch/plan/point.hpp"

namespace annulus::launch {

struct PlanOptions {
  PointRequest request;  ///< but for context and ranks, which come from the lists
  std::vector<std::int64_t> seq_lens;  ///< empty: none asked for
  std::vector<std::int64_t> ranks;
  std::int64_t ranks_per_node = 0;  ///< 0: cores of the machine's node over threads, or all ranks on one
  std::int64_t memory = 0;          ///< bytes of a rank; 0: its share of the machine's node
  std::string machine;              ///< file; empty: none
  bool items = false;
  bool compare = false;
  bool tables = false;
  std::string mask_picture;
};

/// Throws UsageError. Local.
PlanOptions parse_plan_options(std::span<const std::string> arguments);
std::string plan_help();

/// --model and its kin, the mask, --layout, --local-halo and the scheme: what plan and study share.
void add_point_options(Options& options, PointRequest& target);

}  // namespace annulus::launch
