/// Splits long pieces, joins regular short ones.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/row_runs.hpp"

#include <algorithm>

namespace annulus {
namespace {

/// Whether `piece` is the next block of `run`, or can make it a run of two.
bool continues(const RowRun& run, const Piece& piece, std::int64_t max_rows) {
  if (piece.rows != run.block || run.rows() + piece.rows > max_rows || piece.row != run.row + run.rows()) return false;
  return run.count == 1 ? piece.pos >= run.pos + run.block : piece.pos == run.pos + run.count * run.pos_stride;
}

}  // namespace

std::vector<RowRun> plan_runs(std::span<const Piece> pieces, std::int64_t max_rows) {
  std::vector<RowRun> runs;
  for (const Piece& piece : pieces) {
    if (!runs.empty() && continues(runs.back(), piece, max_rows)) {
      if (runs.back().count == 1) runs.back().pos_stride = piece.pos - runs.back().pos;
      ++runs.back().count;
      continue;
    }
    for (std::int64_t done = 0; done < piece.rows; done += max_rows) {
      const std::int64_t rows = std::min(max_rows, piece.rows - done);
      runs.push_back({.row = piece.row + done, .pos = piece.pos + done, .block = rows, .pos_stride = rows});
    }
  }
  return runs;
}

}  // namespace annulus
