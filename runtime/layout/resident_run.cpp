/// The run walked backwards.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/layout/resident_run.hpp"

#include <algorithm>

#include "runtime/layout/halo_plan.hpp"

namespace annulus {

ResidentRun resident_run(const std::vector<Mask>& masks, const std::vector<std::size_t>& run, const RowSet& own) {
  ResidentRun rows{own, {}};
  for (auto layer = run.rbegin(); layer != run.rend(); ++layer) {
    rows.computed.push_back(rows.held);
    rows.held = unite(rows.held, needed_rows(masks[*layer], rows.held));
  }
  std::reverse(rows.computed.begin(), rows.computed.end());
  return rows;
}

}  // namespace annulus
