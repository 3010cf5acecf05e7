/// What happens to scores between q.k and the exponential: cap, ALiBi, mask; and the walk over the tiles of a plan.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/args.hpp"
#include "kernels/cuda/machine.hpp"

namespace annulus::kernels::cuda {

inline constexpr float log2_e = 1.4426950408889634F;

/// Walks the column tiles that one row tile meets. Counts runs, as pointers would take twice the registers.
class TileCursor {
 public:
  template <class Machine>
  ANNULUS_DEVICE void start(Machine& machine, const TilePlanView& plan, int row_tile) {
    run_ = machine.load(plan.offsets + row_tile);
    last_ = machine.load(plan.offsets + row_tile + 1);
    load_run(machine, plan);
  }
  ANNULUS_DEVICE bool done() const { return run_ == last_; }
  /// Where not done: whether next() is the end.
  ANNULUS_DEVICE bool at_last() const { return run_ + 1 == last_ && tile_ + 1 == end_; }
  ANNULUS_DEVICE int tile() const { return tile_; }
  ANNULUS_DEVICE bool masked() const { return masked_ != 0; }
  template <class Machine>
  ANNULUS_DEVICE void next(Machine& machine, const TilePlanView& plan) {
    if (++tile_ < end_) return;
    ++run_;
    load_run(machine, plan);
  }

 private:
  template <class Machine>
  ANNULUS_DEVICE void load_run(Machine& machine, const TilePlanView& plan) {
    if (done()) return;
    const TileRun* const run = plan.runs + run_;
    tile_ = machine.load(&run->begin);
    end_ = machine.load(&run->end);
    masked_ = machine.load(&run->masked);
  }

  std::int32_t run_ = 0;
  std::int32_t last_ = 0;
  std::int32_t tile_ = 0;
  std::int32_t end_ = 0;
  std::int32_t masked_ = 0;
};

ANNULUS_DEVICE bool holds(const KeySpan& span, int key) {
  const auto from_begin = static_cast<std::uint32_t>(key) - static_cast<std::uint32_t>(span.begin);  // huge before it
  const bool between = from_begin < static_cast<std::uint32_t>(span.end - span.begin);
  return between && (span.step == 1 || from_begin % static_cast<std::uint32_t>(span.step) == 0);
}

template <class Machine>
ANNULUS_DEVICE KeySpan load_span(Machine& machine, const KeySpan* span) {
  return {machine.load(&span->begin), machine.load(&span->end), machine.load(&span->step)};
}

/// Bit 2j + e tells whether query row `row` sees key first_key + 8j + e: the columns of one lane.
template <int columns, class Machine>
ANNULUS_DEVICE std::uint32_t keys_seen(Machine& machine, const MaskView& mask, int row, int first_key) {
  if (row >= mask.q_rows) return 0;
  std::uint32_t seen = 0;
  const KeySpan* const spans = mask.spans + static_cast<std::int64_t>(row) * mask.per_row;
  for (int k = 0; k < mask.per_row; ++k) {
    const KeySpan span = load_span(machine, spans + k);
    ANNULUS_UNROLL
    for (int bit = 0; bit < columns / 4; ++bit) {
      seen |= holds(span, first_key + bit / 2 * 8 + bit % 2) ? 1U << bit : 0U;
    }
  }
  return seen;
}

/// Bit 0 and 1: whether query row `row` sees `key` and `key` + 8: one column of one lane, where rows are keys.
template <class Machine>
ANNULUS_DEVICE std::uint32_t key_pair_seen(Machine& machine, const MaskView& mask, int row, int key) {
  if (row >= mask.q_rows) return 0;
  std::uint32_t seen = 0;
  const KeySpan* const spans = mask.spans + static_cast<std::int64_t>(row) * mask.per_row;
  for (int k = 0; k < mask.per_row; ++k) {
    const KeySpan span = load_span(machine, spans + k);
    seen |= (holds(span, key) ? 1U : 0U) | (holds(span, key + 8) ? 2U : 0U);
  }
  return seen;
}

struct Score {
  float s;      ///< log2 units
  float slope;  ///< d(capped) / d(uncapped)
};

/// The general rule on one pair; `distance` counts with ALiBi only.
template <class Machine>
ANNULUS_DEVICE Score general_score(Machine& machine, const ScoreArgs& rule, float alibi_slope, float distance,
                                   float qk) {
  Score score{qk * rule.softmax_scale, 1};
  if (rule.softcap > 0) {
    const float t = machine.tanh(score.s / rule.softcap);
    score = {rule.softcap * t, 1 - t * t};
  }
  return {(score.s - alibi_slope * distance) * log2_e, score.slope};
}

/// The position of a row, 0 for rows in the padding.
template <class Machine>
ANNULUS_DEVICE std::int64_t position(Machine& machine, const std::int64_t* positions, int row, int rows) {
  return row < rows ? machine.load(positions + row) : 0;
}

ANNULUS_DEVICE float distance(std::int64_t i, std::int64_t j) { return static_cast<float>(i < j ? j - i : i - j); }

}  // namespace annulus::kernels::cuda
