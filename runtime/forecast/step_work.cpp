/// Asks the mask for the middle of each part.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/forecast/step_work.hpp"

#include <algorithm>

namespace annulus::forecast {
namespace {

/// Of a span of some step, the keys that a block has: evenly spread where the step is not one.
template <class RowsBefore>
StepWork meet(const PosSpan& keys, double rows, std::int64_t block_rows, const RowsBefore& rows_before) {
  if (keys.empty()) return {};
  const std::int64_t begin = rows_before(keys.begin);
  const std::int64_t end = rows_before(keys.end);
  const auto inside = [&](std::int64_t row) { return 0 < row && row < block_rows ? rows : 0.0; };
  const double share = 1 / static_cast<double>(keys.step);
  if (begin == end) return {};
  return {rows * static_cast<double>(end - begin) * share, inside(begin) + inside(end)};
}

template <class RowsBefore>
StepWork meet_all(const VisibleKeys& keys, double rows, std::int64_t block_rows, const RowsBefore& rows_before) {
  StepWork sum;
  for (const PosSpan& span : keys.spans()) {
    const StepWork work = meet(span, rows, block_rows, rows_before);
    sum.pairs += work.pairs;
    sum.edges += work.edges;
  }
  return sum;
}

}  // namespace

SampledQueries::SampledQueries(const Mask& mask, const RowSet& queries, int samples) : seq_k_(mask.seq_k()) {
  const auto pieces = static_cast<std::int64_t>(queries.pieces().size());
  if (pieces == 0) return;
  const std::int64_t parts = std::max<std::int64_t>(1, samples / pieces);
  const std::int64_t skip = std::max<std::int64_t>(1, pieces / samples);  // stripes: some stand for their neighbours
  for (std::int64_t i = skip / 2; i < pieces; i += skip) {
    const Piece& piece = queries.pieces()[static_cast<std::size_t>(i)];
    for (std::int64_t part = 0; part < std::min(parts, piece.rows); ++part) {
      const std::int64_t begin = piece.rows * part / std::min(parts, piece.rows);
      const std::int64_t end = piece.rows * (part + 1) / std::min(parts, piece.rows);
      samples_.push_back({mask.visible_keys(piece.pos + (begin + end) / 2), static_cast<double>(end - begin)});
    }
  }
  double counted = 0;
  for (const Sample& sample : samples_) counted += sample.rows;
  for (Sample& sample : samples_) sample.rows *= static_cast<double>(queries.rows()) / counted;
}

StepWork SampledQueries::against(const Layout::RowCounter& block, std::int64_t block_rows) const {
  StepWork sum;
  for (const Sample& sample : samples_) {
    const StepWork work =
        meet_all(sample.keys, sample.rows, block_rows, [&](std::int64_t pos) { return block.rows_before(pos); });
    sum.pairs += work.pairs;
    sum.edges += work.edges;
  }
  return sum;
}

StepWork SampledQueries::with_all() const {
  StepWork sum;
  for (const Sample& sample : samples_) {
    const StepWork work = meet_all(sample.keys, sample.rows, seq_k_, [](std::int64_t pos) { return pos; });
    sum.pairs += work.pairs;
    sum.edges += work.edges;
  }
  return sum;
}

}  // namespace annulus::forecast
