/// Masks as range fills and the slower score rules.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/simd/scores.hpp"

#include <algorithm>
#include <limits>
#include <numbers>

namespace annulus::kernels::simd {

namespace {

constexpr float hidden_score = -std::numeric_limits<float>::infinity();
constexpr RowSpan nowhere{GroupMask::no_key, 0};  ///< what a hull grows from

void add_to_hull(RowSpan& hull, const RowSpan& span) {
  if (span.empty()) return;
  hull = {std::min(hull.begin, span.begin), std::max(hull.end, span.end)};
}

void hide(float* row, std::int64_t from, std::int64_t to) {
  if (from < to) std::fill(row + from, row + to, hidden_score);
}

/// Hides what lies between ranges, which ascend. `keys` are those of the row's scores.
void hide_between(std::span<const RowSpan> spans, RowSpan keys, float* row) {
  std::int64_t settled = keys.begin;
  for (const RowSpan& span : spans) {
    const RowSpan seen = span.within(keys);
    if (seen.empty()) continue;
    hide(row, settled - keys.begin, seen.begin - keys.begin);
    settled = seen.end;
  }
  hide(row, settled - keys.begin, keys.end - keys.begin);
}

/// The same for spans of any steps: all are hidden, then the seen ones come back.
void hide_all_but(std::span<const RowSpan> spans, RowSpan keys, float* row) {
  float kept[score_stride];
  std::copy_n(row, keys.end - keys.begin, kept);
  hide(row, 0, keys.end - keys.begin);
  for (const RowSpan& span : spans) {
    const RowSpan seen = span.within(keys);
    for (std::int64_t key = seen.begin - keys.begin; key < seen.end - keys.begin; key += seen.step) row[key] = kept[key];
  }
}

}  // namespace

GroupMask::GroupMask(const VisibleRows& visible, const QueryLayout& layout, std::int64_t tile_groups)
    : visible_(visible), layout_(layout) {
  reach_.reserve(static_cast<std::size_t>(layout.groups * visible.per_row));
  hulls_.resize(static_cast<std::size_t>(ceil_div(layout.groups, tile_groups) * visible.per_row), nowhere);
  for (std::int64_t group = 0; group < layout.groups; ++group) {
    for (std::int64_t k = 0; k < visible.per_row; ++k) {
      reach_.push_back(reach_of(group, k));
      add_to_hull(hulls_[static_cast<std::size_t>(group / tile_groups * visible.per_row + k)], reach_.back().hull);
    }
  }
}

GroupMask::Reach GroupMask::reach_of(std::int64_t group, std::int64_t k) const {
  Reach reach{nowhere, {0, no_key}};
  const std::int64_t first = group * group_rows;
  for (std::int64_t row = first; row < first + layout_.rows_of_group(group); ++row) {
    const RowSpan& span = visible_.spans[static_cast<std::size_t>(row * visible_.per_row + k)];
    add_to_hull(reach.hull, span);
    reach.core = {std::max(reach.core.begin, span.begin), span.step == 1 ? std::min(reach.core.end, span.end) : 0};
  }
  return reach;
}

std::int64_t GroupMask::next_key(std::int64_t tile, std::int64_t from) const {
  std::int64_t next = no_key;
  for (std::int64_t k = 0; k < visible_.per_row; ++k) {
    const RowSpan& hull = hulls_[static_cast<std::size_t>(tile * visible_.per_row + k)];
    if (from < hull.end) next = std::min(next, std::max(from, hull.begin));
  }
  return next;
}

bool GroupMask::all_see(std::int64_t group, RowSpan keys) const {
  const auto first = reach_.begin() + group * visible_.per_row;
  return std::any_of(first, first + visible_.per_row, [&](const Reach& reach) {
    return reach.core.begin <= keys.begin && keys.end <= reach.core.end;
  });
}

VisibleColumns GroupMask::columns(std::int64_t group, RowSpan keys) const {
  const std::int64_t all = keys.end - keys.begin;
  const bool whole_panels = all % panel_keys == 0;
  if (whole_panels && all_see(group, keys)) return {0, all, {0, all}, false};
  const auto first_reach = reach_.begin() + group * visible_.per_row;
  if (std::none_of(first_reach, first_reach + visible_.per_row, [&](const Reach& reach) {
        return reach.hull.begin < keys.end && keys.begin < reach.hull.end;
      })) {
    return {};
  }
  const std::int64_t first = group * group_rows;
  RowSpan hull;
  const TileKind kind = classify(visible_, first, first + layout_.rows_of_group(group), keys, &hull);
  if (kind == TileKind::empty) return {};
  const RowSpan seen{(hull.begin - keys.begin) / 2 * 2, round_up(hull.end - keys.begin, 2)};
  return {seen.begin / panel_keys * panel_keys, round_up(seen.end, panel_keys), seen,
          kind == TileKind::partial || !whole_panels};
}

void GroupMask::apply(std::int64_t group, RowSpan keys, const VisibleColumns& columns, float* scores) const {
  const RowSpan shown{keys.begin + columns.begin, keys.begin + columns.end};
  const auto hide_unseen = [&](std::span<const RowSpan> spans, float* row) {
    const bool ranges = std::all_of(spans.begin(), spans.end(), [](const RowSpan& span) { return span.step == 1; });
    return ranges ? hide_between(spans, shown, row) : hide_all_but(spans, shown, row);
  };
  for (std::int64_t r = 0; r < layout_.rows_of_group(group); ++r) {
    hide_unseen(visible_.of_row(group * group_rows + r), scores + r * score_stride);
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
