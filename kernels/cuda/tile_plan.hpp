/// Which tiles meet: the mask as runs of tiles, from intervals; no pair of rows is looked at.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "kernels/contract/attention.hpp"
#include "kernels/cuda/args.hpp"

namespace annulus::kernels::cuda {

struct TilePlan {
  std::vector<std::int32_t> order;    ///< row tiles that meet some column tile, most of them first
  std::vector<std::int32_t> offsets;  ///< [row tiles + 1]
  std::vector<TileRun> runs;          ///< ascending, apart or of different kinds

  std::int64_t row_tiles() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
  bool any_masked() const;
  /// Adds the row tiles that meet nothing: their results are still to be written.
  void add_idle();
};

/// Tiles of `query_tile` queries meet tiles of `key_tile` keys. A run is masked unless every query row sees every key
/// of it; the rows beyond the last one count as seeing all (they are padding that nobody reads), the keys beyond the
/// last one as unseen.
TilePlan plan_tiles(const VisibleRows& visible, std::int64_t q_rows, std::int64_t query_tile, std::int64_t key_tile);

/// The same meetings with rows and columns exchanged; `columns` is how many column tiles there are.
TilePlan transposed(const TilePlan& plan, std::int64_t columns);

}  // namespace annulus::kernels::cuda
