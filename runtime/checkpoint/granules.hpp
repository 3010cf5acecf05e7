/// A tensor's bytes in the file as granules: fixed runs of whole rows, each with its own checksum. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "runtime/layout/layout.hpp"

namespace annulus::checkpoint {

/// Bytes of a granule at most: what a rank has to stage, whatever a manifest says. Longer rows cannot be saved.
inline constexpr std::int64_t largest_granule = std::int64_t{16} << 20;

/// A dataset in the order of the file: `lines` lines of `seq` rows. A line is a batch of [batch, seq, heads, head_dim],
/// or one head of one batch of row statistics [batch, heads, seq].
struct RowSpace {
  std::int64_t lines = 0;
  std::int64_t seq = 0;
  std::int64_t row_bytes = 0;

  std::int64_t rows() const { return lines * seq; }
  std::int64_t bytes() const { return rows() * row_bytes; }
};

/// Positions [begin, end) of one line.
struct Segment {
  std::int64_t line = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// Rows of a granule for a dataset of this size: the same for every rank count and layout, so that checksums do not
/// depend on who writes. Small datasets get small granules (all ranks have work), large ones few (short manifests).
std::int64_t rows_per_granule(const RowSpace& space);

/// Granule g is the rows [g * granule_rows, (g + 1) * granule_rows) of the dataset, counted through its lines.
class Granules {
 public:
  Granules(RowSpace space, std::int64_t granule_rows) : space_(space), granule_rows_(granule_rows) {}

  const RowSpace& space() const { return space_; }
  std::int64_t granule_rows() const { return granule_rows_; }
  std::int64_t count() const { return space_.bytes() == 0 ? 0 : (space_.rows() + granule_rows_ - 1) / granule_rows_; }
  std::int64_t begin(std::int64_t g) const { return g * granule_rows_; }
  std::int64_t rows(std::int64_t g) const;
  std::int64_t offset(std::int64_t g) const { return begin(g) * space_.row_bytes; }  ///< from the dataset's start
  std::int64_t bytes(std::int64_t g) const { return rows(g) * space_.row_bytes; }
  /// Calls f(segment) for the positions that granule g covers, line by line.
  template <class F>
  void for_each_segment(std::int64_t g, F&& f) const {
    const std::int64_t end = begin(g) + rows(g);
    for (std::int64_t row = begin(g); row < end;) {
      const std::int64_t line = row / space_.seq;
      const std::int64_t next = std::min(end, (line + 1) * space_.seq);
      f(Segment{line, row - line * space_.seq, next - line * space_.seq});
      row = next;
    }
  }
  /// Bytes between the granule's start and a row of it.
  std::int64_t place(std::int64_t g, std::int64_t line, std::int64_t pos) const {
    return (line * space_.seq + pos - begin(g)) * space_.row_bytes;
  }

 private:
  RowSpace space_;
  std::int64_t granule_rows_;
};

/// The rank that writes or reads a granule for a tensor of this layout: the one that holds its middle row where shards
/// are long (nearly nothing travels). Where a granule spans several shards each rank has as many, one behind the other: read in
/// turn, with holes, stripes came 7 points slower (of plain reads; 2 ranks, busy machine, 2026-11-23).
int keeper(const Granules& granules, const Layout& layout, std::int64_t g);

}  // namespace annulus::checkpoint
