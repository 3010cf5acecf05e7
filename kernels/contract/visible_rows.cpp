/// Tile classification from row spans.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/contract/attention.hpp"

namespace annulus::kernels {

TileKind classify(const VisibleRows& visible, std::int64_t q_begin, std::int64_t q_end, RowSpan keys, RowSpan* hull) {
  RowSpan reach{keys.end, keys.begin};
  bool full = true;
  for (std::int64_t row = q_begin; row < q_end; ++row) {
    std::int64_t seen = 0;
    for (const RowSpan& span : visible.of_row(row)) {
      const RowSpan cut = span.within(keys);
      const std::int64_t rows = cut.rows();
      if (rows == 0) continue;
      reach = {std::min(reach.begin, cut.begin), std::max(reach.end, cut.begin + (rows - 1) * cut.step + 1)};
      seen += rows;
    }
    full = full && seen == keys.end - keys.begin;
  }
  const bool empty = reach.begin >= reach.end;
  if (hull != nullptr) *hull = empty ? RowSpan{keys.begin, keys.begin} : reach;
  if (empty) return TileKind::empty;
  return full ? TileKind::full : TileKind::partial;
}

}  // namespace annulus::kernels
