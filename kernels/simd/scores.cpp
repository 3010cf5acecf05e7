/// Masks as range fills and the slower score rules.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/simd/scores.hpp"

#include <algorithm>
#include <limits>
#include <numbers>

namespace annulus::kernels::simd {

GroupMask::GroupMask(const VisibleRows& visible, const QueryLayout& layout, std::int64_t block_rows)
    : visible_(visible), layout_(layout), reach_(static_cast<std::size_t>(layout.groups)) {
  for (std::int64_t group = 0; group < layout.groups; ++group) {
    Reach reach{{block_rows, 0}, {0, block_rows}};
    for (std::int64_t r = 0; r < layout.rows_of_group(group); ++r) {
      RowSpan seen;  // the last span of the row; with several spans, or none, no core is claimed
      int spans = 0;
      for (const RowSpan& span : visible.of_row(group * group_rows + r)) {
        if (span.begin >= span.end) continue;
        reach.hull = {std::min(reach.hull.begin, span.begin), std::max(reach.hull.end, span.end)};
        seen = span;
        ++spans;
      }
      if (spans != 1) seen = {};
      reach.core = {std::max(reach.core.begin, seen.begin), std::min(reach.core.end, seen.end)};
    }
    reach_[static_cast<std::size_t>(group)] = reach;
  }
}

bool GroupMask::reaches(std::int64_t first, std::int64_t last, RowSpan keys) const {
  return std::any_of(reach_.begin() + first, reach_.begin() + last,
                     [&](const Reach& reach) { return reach.hull.begin < keys.end && keys.begin < reach.hull.end; });
}

VisibleColumns GroupMask::columns(std::int64_t group, RowSpan keys) const {
  const Reach& reach = reach_[static_cast<std::size_t>(group)];
  const bool whole_panels = (keys.end - keys.begin) % panel_keys == 0;
  if (whole_panels && reach.core.begin <= keys.begin && keys.end <= reach.core.end) {
    return {0, keys.end - keys.begin, false};
  }
  if (reach.hull.begin >= keys.end || keys.begin >= reach.hull.end) return {};
  const std::int64_t first = group * group_rows;
  RowSpan hull;
  const TileKind kind = classify(visible_, first, first + layout_.rows_of_group(group), keys, &hull);
  if (kind == TileKind::empty) return {};
  const std::int64_t begin = (hull.begin - keys.begin) / panel_keys * panel_keys;
  return {begin, round_up(hull.end - keys.begin, panel_keys), kind == TileKind::partial || !whole_panels};
}

void GroupMask::apply(std::int64_t group, RowSpan keys, const VisibleColumns& columns, float* scores) const {
  const std::int64_t origin = keys.begin + columns.begin;  // key of scores[0]
  const std::int64_t end = columns.end - columns.begin;
  const auto hide = [](float* row, std::int64_t from, std::int64_t to) {
    if (from < to) std::fill(row + from, row + to, -std::numeric_limits<float>::infinity());
  };
  for (std::int64_t r = 0; r < layout_.rows_of_group(group); ++r) {
    float* const row = scores + r * score_stride;
    std::int64_t hidden = 0;  // columns before it are settled
    for (const RowSpan& span : visible_.of_row(group * group_rows + r)) {
      const std::int64_t from = std::max(span.begin, keys.begin) - origin;
      const std::int64_t to = std::min(span.end, keys.end) - origin;
      if (from >= to) continue;
      hide(row, hidden, from);
      hidden = to;
    }
    hide(row, hidden, end);
  }
}

ScoreRule::ScoreRule(const Problem& problem)
    : problem_(problem),
      scale_(static_cast<float>(problem.softmax_scale)),
      cap_(static_cast<float>(problem.softcap)),
      fused_(problem.softcap == 0 && problem.alibi_slopes.empty() && problem.softmax_scale > 0),
      exponent_scale_(static_cast<float>((fused_ ? problem.softmax_scale : 1) * std::numbers::log2e)) {}

void ScoreRule::transform(const TileOps& ops, std::int64_t head, std::int64_t group, std::int64_t rows,
                          const Block& block, RowSpan keys, const VisibleColumns& columns, float* scores,
                          float* slope) const {
  const std::int64_t begin = keys.begin + columns.begin;
  const std::int64_t end = std::min(keys.end, keys.begin + columns.end);
  for (std::int64_t r = 0; r < group_rows; ++r) {
    float* const row = scores + r * score_stride;
    ops.natural_scores(row, columns.end - columns.begin, scale_, cap_,
                       slope == nullptr ? nullptr : slope + r * score_stride);
    if (problem_.alibi_slopes.empty() || r >= rows) continue;
    const auto positions =
        block.positions.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
    add_alibi(head, group * group_rows + r, positions, row);
  }
}

void ScoreRule::add_alibi(std::int64_t head, std::int64_t row, std::span<const std::int64_t> key_positions,
                          float* scores) const {
  const float slope = problem_.alibi_slopes[static_cast<std::size_t>(head)];
  const std::int64_t position = problem_.query_positions[static_cast<std::size_t>(row)];
  for (const std::int64_t key_position : key_positions) {
    *scores++ -= slope * static_cast<float>(std::abs(position - key_position));
  }
}

}  // namespace annulus::kernels::simd
