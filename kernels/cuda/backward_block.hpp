/// Backward with mma.sync: one block of threads keeps the gradients of its rows (BackwardRows) and meets the other side's
/// tiles.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/backward_rows.hpp"
#include "kernels/cuda/config.hpp"

namespace annulus::kernels::cuda {

/// The state of one thread. `general`: scores follow the general rule (ScoreArgs).
template <class Machine, class T, int width, bool general, Gradients wanted>
class BackwardBlock {
  using Config = BackwardConfig<T, width>;
  using Tile = SharedTile<T, width>;
  static constexpr int rows = Config::rows;
  static constexpr int columns = Config::columns;
  using Rows = BackwardRows<Machine, T, width, rows, columns, general, wanted>;
  static constexpr bool rows_are_keys = Rows::rows_are_keys;
  static constexpr std::uint32_t row_tile_bytes = rows * Tile::row_bytes;
  static constexpr std::uint32_t column_tile_bytes = columns * Tile::row_bytes;
  using Scores = typename Rows::Scores;

 public:
  ANNULUS_DEVICE BackwardBlock(Machine& machine, const BackwardArgs& args, Meetings<rows_are_keys> meetings)
      : machine_(machine), args_(args), meetings_(meetings), rows_(machine, args, meetings.pair(), meetings.row_tile()) {}

  ANNULUS_DEVICE void run() {
    rows_.load_carry();
    if (!meetings_.done()) start();
    for (int stage = 0; !meetings_.done(); stage ^= Config::stages - 1) meet(stage);
    rows_.store();
  }

 private:
  ANNULUS_DEVICE void start() {
    fetch_rows(x_tile(), rows_are_keys ? k() : q());
    if constexpr (Rows::has_first) fetch_rows(u_tile(), rows_are_keys ? v() : dout());
    fetch_y(0);
    fetch_w();
    rows_.load_stats();
  }

  ANNULUS_DEVICE void meet(int stage) {
    const Meeting now = meetings_.now();
    meetings_.next(machine_, args_.plan);
    machine_.wait_all();
    machine_.sync();  // y and w are there, and nobody reads the other y any longer
    if (Config::stages == 2 && !meetings_.done()) fetch_y(stage ^ 1);
    Scores s;
    Scores ds;
    clear<1, columns>(s);
    clear<1, columns>(ds);
    Products<T>::template dot_rows<1, columns>(machine_, x_tile(), machine_.warp() * 16, y_tile(stage), s);
    if constexpr (Rows::has_first) {
      Products<T>::template dot_rows<1, columns>(machine_, u_tile(), machine_.warp() * 16, w_tile(), ds);
    }
    rows_.differentiate(now, lse_at(stage), delta_at(), s[0], ds[0]);
    if constexpr (Rows::has_second) Products<T>::template add_rows<1, columns>(machine_, s, w_tile(), rows_.second());
    machine_.sync();  // nobody reads w and delta any longer
    if (!meetings_.done()) fetch_w();
    if constexpr (Rows::has_first) Products<T>::template add_rows<1, columns>(machine_, ds, y_tile(stage), rows_.first());
    if constexpr (Config::stages == 1) {
      machine_.sync();
      if (!meetings_.done()) fetch_y(0);
    }
  }

  ANNULUS_DEVICE Tile x_tile() const { return {0}; }
  ANNULUS_DEVICE Tile u_tile() const { return {row_tile_bytes}; }
  ANNULUS_DEVICE Tile w_tile() const { return {2 * row_tile_bytes}; }
  ANNULUS_DEVICE Tile y_tile(int stage) const {
    return {2 * row_tile_bytes + (1 + static_cast<std::uint32_t>(stage)) * column_tile_bytes};
  }
  /// Columns' delta beside w, columns' lse beside y; used where columns are queries.
  ANNULUS_DEVICE std::uint32_t delta_at() const { return y_tile(Config::stages).base; }
  ANNULUS_DEVICE std::uint32_t lse_at(int stage) const {
    return delta_at() + (1 + static_cast<std::uint32_t>(stage)) * Config::stats_bytes;
  }

  /// Row 0 of the query head in hand in arrays [batch][heads][padded_rows].
  ANNULUS_DEVICE std::int64_t query_row() const {
    return static_cast<std::int64_t>(meetings_.query_pair()) * args_.extents.padded_rows;
  }
  ANNULUS_DEVICE const T* q() const { return static_cast<const T*>(args_.q) + query_row() * width; }
  ANNULUS_DEVICE const T* dout() const { return static_cast<const T*>(args_.dout) + query_row() * width; }
  ANNULUS_DEVICE std::int64_t part() const { return static_cast<std::int64_t>(args_.extents.key_rows) * width; }
  ANNULUS_DEVICE const T* k() const {
    return static_cast<const T*>(args_.block) + static_cast<std::int64_t>(meetings_.key_pair()) * 2 * part();
  }
  ANNULUS_DEVICE const T* v() const { return k() + part(); }

  ANNULUS_DEVICE void fetch_rows(Tile tile, const T* matrix) {
    const int limit = rows_are_keys ? args_.extents.key_rows : args_.extents.padded_rows;
    fetch_tile<rows, Config::threads>(machine_, tile, matrix, meetings_.row_tile() * rows, limit);
  }
  ANNULUS_DEVICE void fetch_columns(Tile tile, const T* matrix) {
    const int limit = rows_are_keys ? args_.extents.padded_rows : args_.extents.key_rows;
    fetch_tile<columns, Config::threads>(machine_, tile, matrix, meetings_.now().tile * columns, limit);
  }
  ANNULUS_DEVICE void fetch_stats(std::uint32_t at, const float* stats) {
    const int thread = machine_.thread();
    if (thread >= columns / 4) return;
    const std::int64_t row = query_row() + meetings_.now().tile * columns + thread * 4;
    machine_.copy_async(at + static_cast<std::uint32_t>(thread) * 16, stats + row, true);
  }
  ANNULUS_DEVICE void fetch_y(int stage) {
    fetch_columns(y_tile(stage), rows_are_keys ? q() : k());
    if constexpr (rows_are_keys) fetch_stats(lse_at(stage), args_.lse);
    machine_.commit();
  }
  ANNULUS_DEVICE void fetch_w() {
    fetch_columns(w_tile(), rows_are_keys ? dout() : v());
    if constexpr (rows_are_keys && Rows::has_first) fetch_stats(delta_at(), args_.delta);
    machine_.commit();
  }

  Machine& machine_;
  const BackwardArgs& args_;
  Meetings<rows_are_keys> meetings_;
  Rows rows_;
};

template <class T, int width, bool general, Gradients wanted>
struct BackwardKernel : BackwardConfig<T, width> {
  using Args = BackwardArgs;
  using Element = T;
  static constexpr int row_width = width;
  template <class Machine>
  static ANNULUS_DEVICE void run(Machine& machine, const Args& args) {
    const Meetings<wanted != Gradients::dq> meetings(machine, args);
    BackwardBlock<Machine, T, width, general, wanted>(machine, args, meetings).run();
  }
};

}  // namespace annulus::kernels::cuda
