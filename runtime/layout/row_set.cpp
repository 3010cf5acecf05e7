/// Set arithmetic on sorted spans.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/layout/row_set.hpp"

#include <algorithm>
#include <numeric>

namespace annulus {

RowSet::RowSet(std::vector<PosRange> spans) {
  if (!std::ranges::is_sorted(spans, {}, &PosRange::begin)) std::ranges::sort(spans, {}, &PosRange::begin);
  for (const PosRange& span : spans) append(span);
}

void RowSet::append(const PosRange& span) {
  const std::int64_t settled = pieces_.empty() ? span.begin : pieces_.back().pos + pieces_.back().rows;
  const std::int64_t more = span.end - std::max(span.begin, settled);
  if (more <= 0) return;
  if (!pieces_.empty() && span.begin <= settled) {
    pieces_.back().rows += more;
  } else {
    pieces_.push_back({rows_, span.begin, more});
  }
  rows_ += more;
}

std::vector<PosRange> RowSet::spans() const {
  std::vector<PosRange> all;
  for (const Piece& piece : pieces_) all.push_back({piece.pos, piece.pos + piece.rows});
  return all;
}

std::int64_t RowSet::rows_before(std::int64_t pos) const {
  const auto above = std::upper_bound(pieces_.begin(), pieces_.end(), pos,
                                      [](std::int64_t p, const Piece& piece) { return p < piece.pos; });
  if (above == pieces_.begin()) return 0;
  const Piece& piece = *(above - 1);
  return piece.row + std::min(pos - piece.pos, piece.rows);
}

std::int64_t RowSet::position(std::int64_t row) const {
  const auto above = std::upper_bound(pieces_.begin(), pieces_.end(), row,
                                      [](std::int64_t r, const Piece& piece) { return r < piece.row; });
  const Piece& piece = *(above - 1);
  return piece.pos + row - piece.row;
}

std::vector<std::int64_t> RowSet::positions() const {
  std::vector<std::int64_t> all(static_cast<std::size_t>(rows_));
  for (const Piece& piece : pieces_) {
    const auto first = all.begin() + piece.row;
    std::iota(first, first + piece.rows, piece.pos);
  }
  return all;
}

RowSet unite(const RowSet& a, const RowSet& b) {
  std::vector<PosRange> spans = a.spans();
  const std::vector<PosRange> more = b.spans();
  spans.insert(spans.end(), more.begin(), more.end());
  return RowSet(std::move(spans));
}

RowSet intersect(const RowSet& a, const RowSet& b) {
  RowSet common;
  auto i = a.pieces().begin();
  auto j = b.pieces().begin();
  while (i != a.pieces().end() && j != b.pieces().end()) {
    const std::int64_t i_end = i->pos + i->rows;
    const std::int64_t j_end = j->pos + j->rows;
    common.append({std::max(i->pos, j->pos), std::min(i_end, j_end)});
    i_end < j_end ? ++i : ++j;
  }
  return common;
}

RowSet without(const RowSet& a, const RowSet& b) {
  std::vector<PosRange> rest;
  auto j = b.pieces().begin();
  for (const Piece& piece : a.pieces()) {
    std::int64_t begin = piece.pos;
    const std::int64_t end = piece.pos + piece.rows;
    while (j != b.pieces().end() && j->pos + j->rows <= begin) ++j;
    for (auto k = j; k != b.pieces().end() && k->pos < end; ++k) {
      rest.push_back({begin, k->pos});
      begin = std::max(begin, k->pos + k->rows);
    }
    rest.push_back({begin, end});
  }
  return RowSet(std::move(rest));
}

}  // namespace annulus
