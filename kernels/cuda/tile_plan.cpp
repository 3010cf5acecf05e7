/// Tile plans from the hulls and cores of spans.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/tile_plan.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "kernels/base/checked.hpp"

namespace annulus::kernels::cuda {
namespace {

/// From tile `at` on, `hulls` more spans may be seen and `cores` more are seen by all.
struct Edge {
  std::int64_t at;
  int hulls;
  int cores;
};

void add_range(std::vector<Edge>& edges, std::int64_t begin, std::int64_t end, Edge weight) {
  if (begin >= end) return;
  edges.push_back({begin, weight.hulls, weight.cores});
  edges.push_back({end, -weight.hulls, -weight.cores});
}

/// Edges of the k-th spans of query rows [rows.begin, rows.end).
void add_edges(const VisibleRows& visible, RowSpan rows, std::int64_t k, std::int64_t key_tile,
               std::vector<Edge>& edges) {
  RowSpan hull{std::numeric_limits<std::int64_t>::max(), 0};
  RowSpan core{0, std::numeric_limits<std::int64_t>::max()};
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    const RowSpan& span = visible.of_row(row)[static_cast<std::size_t>(k)];
    if (!span.empty()) hull = {std::min(hull.begin, span.begin), std::max(hull.end, span.end)};
    core = {std::max(core.begin, span.begin), span.step == 1 ? std::min(core.end, span.end) : 0};
  }
  if (hull.empty()) return;
  add_range(edges, hull.begin / key_tile, ceil_div(hull.end, key_tile), {0, 1, 0});
  if (!core.empty()) add_range(edges, ceil_div(core.begin, key_tile), core.end / key_tile, {0, 0, 1});
}

void append(std::vector<TileRun>& runs, std::size_t first, const TileRun& run) {
  if (run.begin == run.end) return;
  if (runs.size() > first && runs.back().end == run.begin && runs.back().masked == run.masked) {
    runs.back().end = run.end;
  } else {
    runs.push_back(run);
  }
}

/// Sweeps over the edges; `runs` grows by the runs of one row tile.
void add_runs(std::vector<Edge>& edges, std::vector<TileRun>& runs) {
  std::ranges::sort(edges, {}, &Edge::at);
  const std::size_t first = runs.size();
  Edge open{0, 0, 0};
  for (const Edge& edge : edges) {
    const TileRun run{static_cast<std::int32_t>(open.at), static_cast<std::int32_t>(edge.at), open.cores > 0 ? 0 : 1};
    if (open.hulls > 0) append(runs, first, run);
    open = {edge.at, open.hulls + edge.hulls, open.cores + edge.cores};
  }
}

/// Fills `order`.
void put_longest_first(TilePlan& plan) {
  std::vector<std::int64_t> tiles(static_cast<std::size_t>(plan.row_tiles()), 0);
  for (std::size_t row = 0; row < tiles.size(); ++row) {
    for (std::int32_t i = plan.offsets[row]; i < plan.offsets[row + 1]; ++i) {
      const TileRun& run = plan.runs[static_cast<std::size_t>(i)];
      tiles[row] += run.end - run.begin;
    }
    if (tiles[row] > 0) plan.order.push_back(static_cast<std::int32_t>(row));
  }
  const auto work = [&](std::int32_t row) { return -tiles[static_cast<std::size_t>(row)]; };
  std::ranges::stable_sort(plan.order, {}, work);
}

}  // namespace

bool TilePlan::any_masked() const {
  return std::ranges::any_of(runs, [](const TileRun& run) { return run.masked != 0; });
}

void TilePlan::add_idle() {
  for (std::size_t row = 0; row + 1 < offsets.size(); ++row) {
    if (offsets[row] == offsets[row + 1]) order.push_back(static_cast<std::int32_t>(row));
  }
}

TilePlan plan_tiles(const VisibleRows& visible, std::int64_t q_rows, std::int64_t query_tile, std::int64_t key_tile) {
  TilePlan plan;
  plan.offsets.push_back(0);
  std::vector<Edge> edges;
  for (std::int64_t first = 0; first < q_rows; first += query_tile) {
    edges.clear();
    const RowSpan rows{first, std::min(first + query_tile, q_rows)};
    for (std::int64_t k = 0; k < visible.per_row; ++k) add_edges(visible, rows, k, key_tile, edges);
    add_runs(edges, plan.runs);
    plan.offsets.push_back(static_cast<std::int32_t>(plan.runs.size()));
  }
  put_longest_first(plan);
  return plan;
}

TilePlan transposed(const TilePlan& plan, std::int64_t columns) {
  std::vector<std::vector<TileRun>> runs(static_cast<std::size_t>(columns));
  for (std::int32_t row = 0; row < plan.row_tiles(); ++row) {
    const auto at = static_cast<std::size_t>(row);
    for (std::int32_t i = plan.offsets[at]; i < plan.offsets[at + 1]; ++i) {
      const TileRun& run = plan.runs[static_cast<std::size_t>(i)];
      for (std::int32_t column = run.begin; column < run.end; ++column) {
        append(runs[static_cast<std::size_t>(column)], 0, {row, row + 1, run.masked});
      }
    }
  }
  TilePlan result;
  result.offsets.push_back(0);
  for (const std::vector<TileRun>& of_column : runs) {
    result.runs.insert(result.runs.end(), of_column.begin(), of_column.end());
    result.offsets.push_back(static_cast<std::int32_t>(result.runs.size()));
  }
  put_longest_first(result);
  return result;
}

}  // namespace annulus::kernels::cuda
