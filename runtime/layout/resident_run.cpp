/// The run walked backwards.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/layout/resident_run.hpp"

#include <algorithm>

#include "runtime/layout/halo_plan.hpp"

namespace annulus {

ResidentRun resident_run(const std::vector<Mask>& masks, const RowSet& own) {
  ResidentRun run{own, {}};
  for (auto mask = masks.rbegin(); mask != masks.rend(); ++mask) {
    run.computed.push_back(run.held);
    run.held = unite(run.held, needed_rows(*mask, run.held));
  }
  std::reverse(run.computed.begin(), run.computed.end());
  return run;
}

}  // namespace annulus
