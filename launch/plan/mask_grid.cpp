/// Counts visible pairs cell by cell, from what each query sees.
// SPDX-License-Identifier: Apache-2.0
#include "launch/plan/mask_grid.hpp"

#include <algorithm>

#include "kernels/base/checked.hpp"

namespace annulus::launch {
namespace {

/// More pieces than these are not told apart where a cell holds several positions: a file would grow with them.
constexpr std::size_t most_pieces = 128;

/// Every `cell` positions and, if asked, where a piece begins.
std::vector<std::int64_t> edges_of(const std::vector<OwnedRange>& pieces, std::int64_t seq_len, std::int64_t cell) {
  std::vector<std::int64_t> edges{seq_len};
  for (std::int64_t pos = 0; pos < seq_len; pos += cell) edges.push_back(pos);
  if (pieces.size() <= most_pieces) {
    for (const OwnedRange& piece : pieces) edges.push_back(piece.begin);
  }
  std::sort(edges.begin(), edges.end());
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  return edges;
}

/// Positions per cell, so that cells and cuts at shards together stay near the finest grid.
std::int64_t cell_size(std::int64_t seq_len, std::size_t pieces) {
  if (seq_len <= MaskGrid::finest) return 1;
  const std::int64_t cuts = pieces <= most_pieces ? static_cast<std::int64_t>(pieces) : 0;
  return ceil_div(seq_len, MaskGrid::finest - cuts);
}

}  // namespace

std::vector<OwnedRange> owned_ranges(const Layout& layout) {
  std::vector<OwnedRange> ranges;
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    for (const Piece& piece : layout.pieces(rank)) ranges.push_back({rank, piece.pos, piece.pos + piece.rows});
  }
  std::sort(ranges.begin(), ranges.end(), [](const OwnedRange& a, const OwnedRange& b) { return a.begin < b.begin; });
  return ranges;
}

MaskGrid::MaskGrid(const Mask& mask, const Layout& q_layout, const Layout& k_layout)
    : rank_pairs_(static_cast<std::size_t>(q_layout.ranks())) {
  const std::vector<OwnedRange> queries = owned_ranges(q_layout);
  const std::vector<OwnedRange> keys = owned_ranges(k_layout);
  largest_cell_ = cell_size(std::max(mask.seq_q(), mask.seq_k()), std::max(queries.size(), keys.size()));
  row_edges_ = edges_of(queries, mask.seq_q(), largest_cell_);
  column_edges_ = edges_of(keys, mask.seq_k(), largest_cell_);
  pairs_.resize(rows() * columns());
  auto piece = queries.begin();
  for (std::size_t row = 0; row < rows(); ++row) {
    while (piece->end <= row_edges_[row]) ++piece;
    owners_.push_back(piece->owner);
    count_row(mask, row, piece);
  }
}

Shade MaskGrid::shade(std::size_t row, std::size_t column) const {
  const std::int64_t seen = pairs(row, column);
  if (seen == 0) return Shade::none;
  const std::int64_t whole =
      (row_edges_[row + 1] - row_edges_[row]) * (column_edges_[column + 1] - column_edges_[column]);
  return seen == whole ? Shade::all : Shade::partial;
}

std::size_t MaskGrid::column_of(std::int64_t key) const {
  return static_cast<std::size_t>(std::upper_bound(column_edges_.begin(), column_edges_.end(), key) -
                                  column_edges_.begin() - 1);
}

/// Spans without a step only note where they cover whole columns, so that a query costs the same however far it sees.
void MaskGrid::count_row(const Mask& mask, std::size_t row, std::vector<OwnedRange>::const_iterator piece) {
  std::int64_t* cells = pairs_.data() + row * columns();
  std::vector<std::int64_t> covering(columns() + 1);  // queries that cover a column, less those of the one before
  for (std::int64_t q = row_edges_[row]; q < row_edges_[row + 1]; ++q) {
    while (piece->end <= q) ++piece;
    if (piece->owner != owners_[row]) owners_[row] = several;
    const VisibleKeys keys = mask.visible_keys(q);
    rank_pairs_[static_cast<std::size_t>(piece->owner)] += keys.count();
    for (const PosSpan& span : keys.spans()) count_span(span, cells, covering);
  }
  std::int64_t queries = 0;
  for (std::size_t column = 0; column < columns(); ++column) {
    queries += covering[column];
    cells[column] += queries * (column_edges_[column + 1] - column_edges_[column]);
  }
}

void MaskGrid::count_span(const PosSpan& keys, std::int64_t* cells, std::vector<std::int64_t>& covering) const {
  if (keys.empty()) return;
  const std::size_t first = column_of(keys.begin);
  const std::size_t last = column_of(keys.end - 1);
  const auto count = [&](std::size_t column) {
    const auto up_to = [&](std::int64_t pos) { return PosSpan{keys.begin, std::min(pos, keys.end), keys.step}.size(); };
    cells[column] += up_to(column_edges_[column + 1]) - up_to(column_edges_[column]);
  };
  if (keys.step > 1) {
    for (std::size_t column = first; column <= last; ++column) count(column);
    return;
  }
  count(first);
  if (last == first) return;
  count(last);
  ++covering[first + 1];
  --covering[last];
}

}  // namespace annulus::launch
