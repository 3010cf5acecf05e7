/// Needs of all ranks, cut by who owns them.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/layout/halo_plan.hpp"

namespace annulus {

HaloPlan halo_plan(const Layout& layout, int rank, const std::function<RowSet(int rank)>& needed) {
  HaloPlan plan;
  plan.own = layout.row_set(rank);
  plan.halo = without(needed(rank), plan.own);
  for (int peer = 0; peer < layout.ranks(); ++peer) {
    if (peer == rank) continue;
    RowSet arriving = plan.halo.empty() ? RowSet() : intersect(plan.halo, layout.row_set(peer));
    if (!arriving.empty()) plan.arriving.push_back({peer, std::move(arriving)});
    RowSet leaving = intersect(needed(peer), plan.own);
    if (!leaving.empty()) plan.leaving.push_back({peer, std::move(leaving)});
  }
  return plan;
}

std::uint64_t HaloPlan::list_bytes() const {
  std::uint64_t bytes = own.list_bytes() + halo.list_bytes();
  for (const std::vector<HaloPart>* parts : {&arriving, &leaving}) {
    for (const HaloPart& part : *parts) bytes += part.rows.list_bytes();
  }
  return bytes;
}

RowSet needed_rows(const Mask& mask, const RowSet& queries) {
  std::vector<PosRange> spans;
  for (const PosRange& range : queries.spans()) {
    for (const PosSpan& keys : needed_keys(mask, {range.begin, range.end})) spans.push_back({keys.begin, keys.end});
  }
  return RowSet(std::move(spans));
}

}  // namespace annulus
