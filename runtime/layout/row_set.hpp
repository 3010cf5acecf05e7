/// The positions that a rank keeps, in ascending rows: a shard, a halo, or both. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

namespace annulus {

/// Range of positions [begin, end).
struct PosRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  friend bool operator==(const PosRange&, const PosRange&) = default;
};

/// Consecutive positions in consecutive rows: rows [row, row + rows) hold positions [pos, pos + rows).
struct Piece {
  std::int64_t row = 0;
  std::int64_t pos = 0;
  std::int64_t rows = 0;
  friend bool operator==(const Piece&, const Piece&) = default;
};

/// A set of positions kept in ascending order, one per row.
class RowSet {
 public:
  RowSet() = default;
  /// Spans in any order; empty ones are dropped, those that overlap or touch are merged.
  explicit RowSet(std::vector<PosRange> spans);

  std::int64_t rows() const { return rows_; }
  bool empty() const { return rows_ == 0; }
  /// Runs of consecutive positions, ascending; neighbours do not touch.
  const std::vector<Piece>& pieces() const { return pieces_; }
  std::vector<PosRange> spans() const;
  /// What the list takes: in a striped shard as many pieces as stripes.
  std::uint64_t list_bytes() const { return pieces_.size() * sizeof(Piece); }

  /// Rows that hold positions below `pos`.
  std::int64_t rows_before(std::int64_t pos) const;
  bool contains(std::int64_t pos) const { return rows_before(pos + 1) > rows_before(pos); }
  /// The position that `row` in [0, rows()) holds.
  std::int64_t position(std::int64_t row) const;
  /// All positions, by row.
  std::vector<std::int64_t> positions() const;

  friend bool operator==(const RowSet&, const RowSet&) = default;
  friend RowSet intersect(const RowSet& a, const RowSet& b);

 private:
  /// Begins nowhere before the last piece does. Empty ones change nothing.
  void append(const PosRange& span);

  std::vector<Piece> pieces_;
  std::int64_t rows_ = 0;
};

RowSet unite(const RowSet& a, const RowSet& b);
RowSet intersect(const RowSet& a, const RowSet& b);
/// The positions of `a` that are not in `b`.
RowSet without(const RowSet& a, const RowSet& b);

}  // namespace annulus
