/// A mask as a grid of cells: how much of each is visible, and whose queries it holds. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "runtime/layout/layout.hpp"
#include "runtime/layout/mask.hpp"

namespace annulus::launch {

enum class Shade { none, partial, all };

/// Consecutive positions of one rank.
struct OwnedRange {
  int owner = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// The pieces of all shards, by position.
std::vector<OwnedRange> owned_ranges(const Layout& layout);

/// Cells of one pair each for up to `finest` queries and keys; of longer sequences each holds several. Shards begin at
/// edges of cells unless there are too many pieces of them.
class MaskGrid {
 public:
  static constexpr std::int64_t finest = 256;
  static constexpr int several = -1;  ///< no single rank

  /// Both layouts have the same ranks. Takes a step per query, and with a stride one per query and column of cells.
  MaskGrid(const Mask& mask, const Layout& q_layout, const Layout& k_layout);

  std::size_t rows() const { return row_edges_.size() - 1; }
  std::size_t columns() const { return column_edges_.size() - 1; }
  /// Row of cells r holds queries [row_edges()[r], row_edges()[r + 1]).
  const std::vector<std::int64_t>& row_edges() const { return row_edges_; }
  const std::vector<std::int64_t>& column_edges() const { return column_edges_; }
  /// Positions on a side of the largest cells; 1: each holds one pair.
  std::int64_t largest_cell() const { return largest_cell_; }
  bool is_exact() const { return largest_cell_ == 1; }

  /// Who owns the queries of a row of cells, or `several`.
  int owner(std::size_t row) const { return owners_[row]; }
  bool has_several() const { return std::find(owners_.begin(), owners_.end(), several) != owners_.end(); }
  std::int64_t pairs(std::size_t row, std::size_t column) const { return pairs_[row * columns() + column]; }
  Shade shade(std::size_t row, std::size_t column) const;
  /// Visible pairs of the queries of a rank.
  std::int64_t rank_pairs(int rank) const { return rank_pairs_[static_cast<std::size_t>(rank)]; }

 private:
  void count_row(const Mask& mask, std::size_t row, std::vector<OwnedRange>::const_iterator piece);
  void count_span(const PosSpan& keys, std::int64_t* cells, std::vector<std::int64_t>& covering) const;
  std::size_t column_of(std::int64_t key) const;

  std::vector<std::int64_t> row_edges_;
  std::vector<std::int64_t> column_edges_;
  std::vector<int> owners_;
  std::vector<std::int64_t> pairs_;
  std::vector<std::int64_t> rank_pairs_;
  std::int64_t largest_cell_ = 1;
};

}  // namespace annulus::launch
