/// Cuts datasets into granules and deals them to ranks.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/granules.hpp"

#include <algorithm>
#include <numeric>

#include "kernels/base/checked.hpp"

namespace annulus::checkpoint {

std::int64_t rows_per_granule(const RowSpace& space) {
  constexpr std::int64_t wanted_granules = 256;
  constexpr std::int64_t stripe = std::int64_t{1} << 20;  // of Lustre; below it, calls cost more than bytes
  // No two ranks write to one page where rows allow it: clients of network file systems may spoil each other's half.
  constexpr std::int64_t page = 4096;
  const std::int64_t bytes = std::clamp(space.bytes() / wanted_granules, stripe, 4 * stripe);
  const std::int64_t rows = bytes / std::max<std::int64_t>(1, space.row_bytes);
  const std::int64_t rows_in_pages = page / std::gcd(page, space.row_bytes);
  return std::max<std::int64_t>(1, rows < rows_in_pages ? rows : rows / rows_in_pages * rows_in_pages);
}

std::int64_t Granules::rows(std::int64_t g) const { return std::min(granule_rows_, space_.rows() - begin(g)); }

int keeper(const Granules& granules, const Layout& layout, std::int64_t g) {
  const std::int64_t seq = granules.space().seq;
  const std::int64_t shortest_piece = seq / (2 * std::int64_t{layout.ranks()});
  if (layout.kind() == LayoutKind::striped || granules.granule_rows() > shortest_piece) {
    return static_cast<int>(g / ceil_div(granules.count(), layout.ranks()));
  }
  return layout.owner((granules.begin(g) + granules.rows(g) / 2) % seq);
}

}  // namespace annulus::checkpoint
