/// Which rows of other ranks a rank needs beside its own, and from whom. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <vector>

#include "runtime/layout/layout.hpp"
#include "runtime/layout/mask.hpp"
#include "runtime/layout/row_set.hpp"

namespace annulus {

/// Rows that two ranks have to do with.
struct HaloPart {
  int peer = 0;
  RowSet rows;
  friend bool operator==(const HaloPart&, const HaloPart&) = default;
};

/// One rank's side of a halo exchange. Every position of the halo comes from the one rank that owns it.
struct HaloPlan {
  RowSet own;
  RowSet halo;                     ///< needed and not owned
  std::vector<HaloPart> arriving;  ///< parts of `halo`, by ascending owner; no empty ones
  std::vector<HaloPart> leaving;   ///< parts of `own` that others need, by ascending rank; no empty ones

  RowSet held() const { return unite(own, halo); }
  std::uint64_t list_bytes() const;
};

/// `needed(r)`: all positions that rank r reads, its own or not. O(ranks) calls of it.
HaloPlan halo_plan(const Layout& layout, int rank, const std::function<RowSet(int rank)>& needed);

/// The keys that some of the queries at `queries` (query indices of the whole sequence) may see, without the queries'
/// own rows unless they see those: the image of Mask::needed_keys.
RowSet needed_rows(const Mask& mask, const RowSet& queries);

}  // namespace annulus
