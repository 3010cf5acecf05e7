/// Documents, the queries at their starts, and the ranks that hold their keys.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/layout/global_plan.hpp"

#include <algorithm>

namespace annulus {

RowSet global_queries(const Mask& mask) {
  const MaskSpec& spec = mask.spec();
  if (spec.causal || spec.stride > 0 || spec.global_tokens == 0) return {};
  const std::int64_t first_query = mask.key_position(0);
  std::vector<PosRange> spans;
  for (std::int64_t pos = 0; pos < mask.seq_k();) {
    const PosSpan document = mask.document(pos);
    const std::int64_t tokens = std::min(spec.global_tokens, document.end - document.begin);
    spans.push_back({std::max<std::int64_t>(document.begin - first_query, 0),
                     std::min(document.begin + tokens - first_query, mask.seq_q())});
    pos = document.end;
  }
  return RowSet(std::move(spans));
}

RowSet visitors(const Mask& mask, const RowSet& queries, const RowSet& keys) {
  if (queries.empty()) return {};
  const std::int64_t first_query = mask.key_position(0);
  std::vector<PosRange> documents;
  for (const PosRange& range : keys.spans()) {
    documents.push_back(
        {mask.document(range.begin).begin - first_query, mask.document(range.end - 1).end - first_query});
  }
  return intersect(queries, RowSet(std::move(documents)));
}

GlobalPlan global_plan(const Mask& mask, const Layout& q_layout, const Layout& k_layout, int rank,
                       const RowSet& travelling) {
  const RowSet own = q_layout.row_set(rank);
  GlobalPlan plan{{}, without(own, travelling)};
  if (travelling.empty()) return plan;
  plan.visits = halo_plan(q_layout, rank, [&](int r) { return visitors(mask, travelling, k_layout.row_set(r)); });
  plan.visits.own = intersect(own, travelling);
  return plan;
}

}  // namespace annulus
