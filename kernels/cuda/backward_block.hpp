/// Backward: one block of threads keeps the gradients of its rows, queries or keys, and meets the other side's tiles.
///   p_ij = 2^(s_ij - lse_i);  ds_ij = p_ij (dout_i.v_j - delta_i) slope_ij        (s and lse in log2 units)
///   dq_i = sum_j ds_ij k_j;   dk_j = sum_i ds_ij q_i;   dv_j = sum_i p_ij dout_i  (dq and dk times softmax_scale)
/// With rows x, u and columns y, w, that is (q, dout | k, v) or (k, v | q, dout), either side reads
///   s = x y^T;  dp = u w^T;  first += ds y;  second += p w
/// and no two blocks add to the same place: the bits depend neither on timing nor on the number of processors.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/config.hpp"
#include "kernels/cuda/products.hpp"
#include "kernels/cuda/scores.hpp"

namespace annulus::kernels::cuda {

/// What one kernel computes. dk and dv apart where the registers do not hold both.
enum class Gradients { dq, dk_and_dv, dk, dv };

/// The state of one thread. `general`: scores follow the general rule (ScoreArgs).
template <class Machine, class T, int width, bool general, Gradients wanted>
class BackwardBlock {
  using Config = BackwardConfig<T, width>;
  using Tile = SharedTile<T, width>;
  static constexpr bool rows_are_keys = wanted != Gradients::dq;
  static constexpr bool has_first = wanted != Gradients::dv;
  static constexpr bool has_second = wanted == Gradients::dk_and_dv || wanted == Gradients::dv;
  static constexpr int rows = Config::rows;
  static constexpr int columns = Config::columns;
  static constexpr std::uint32_t row_tile_bytes = rows * Tile::row_bytes;
  static constexpr std::uint32_t column_tile_bytes = columns * Tile::row_bytes;
  using Scores = Sums<1, columns>;

  /// A column tile of one query head.
  struct Meeting {
    int tile;
    bool masked;
    int head;  ///< in its group; 0 where rows are queries
  };

 public:
  ANNULUS_DEVICE BackwardBlock(Machine& machine, const BackwardArgs& args) : machine_(machine), args_(args) {
    const Extents& extents = args.extents;
    const std::int64_t heads = rows_are_keys ? extents.heads / extents.group : extents.heads;
    const std::int64_t pairs = extents.batch * heads;
    pair_ = static_cast<std::int32_t>(machine.block() % pairs);
    row_tile_ = machine.load(args.plan.order + machine.block() / pairs);
    cursor_.start(machine, args.plan, row_tile_);
  }

  ANNULUS_DEVICE void run() {
    clear<1, width>(first_);
    clear<1, width>(second_);
    if (!rows_are_keys && args_.fresh == 0) load_sum(args_.dq + query_row(0) * width, first_);
    if (!cursor_.done()) start();
    for (int stage = 0; !cursor_.done(); stage ^= Config::stages - 1) meet(stage);
    store();
  }

 private:
  ANNULUS_DEVICE void start() {
    fetch_rows(x_tile(), rows_are_keys ? k() : q(0));
    if constexpr (has_first) fetch_rows(u_tile(), rows_are_keys ? v() : dout(0));
    fetch_y(0);
    fetch_w();
    if constexpr (!rows_are_keys) {
      ANNULUS_UNROLL
      for (int half = 0; half < 2; ++half) {
        const std::int64_t at = query_row(0) + first_row() + 8 * half;
        lse_[half] = machine_.load(args_.lse + at);
        delta_[half] = machine_.load(args_.delta + at);
      }
    }
  }

  ANNULUS_DEVICE void meet(int stage) {
    const Meeting now{cursor_.tile(), cursor_.masked(), head_};
    advance();
    machine_.wait_all();
    machine_.sync();  // y and w are there, and nobody reads the other y any longer
    if (Config::stages == 2 && !cursor_.done()) fetch_y(stage ^ 1);
    Scores s;
    Scores ds;
    clear<1, columns>(s);
    clear<1, columns>(ds);
    Products<T>::template dot_rows<1, columns>(machine_, x_tile(), machine_.warp() * 16, y_tile(stage), s);
    if constexpr (has_first) {
      Products<T>::template dot_rows<1, columns>(machine_, u_tile(), machine_.warp() * 16, w_tile(), ds);
    }
    if (now.masked) hide(now, s[0]);
    differentiate(now, stage, s[0], ds[0]);
    if constexpr (has_second) Products<T>::template add_rows<1, columns>(machine_, s, w_tile(), second_);
    machine_.sync();  // nobody reads w and delta any longer
    if (!cursor_.done()) fetch_w();
    if constexpr (has_first) Products<T>::template add_rows<1, columns>(machine_, ds, y_tile(stage), first_);
    if constexpr (Config::stages == 1) {
      machine_.sync();
      if (!cursor_.done()) fetch_y(0);
    }
  }

  /// To the next column tile, or the first one of the next head that reads these keys.
  ANNULUS_DEVICE void advance() {
    cursor_.next(machine_, args_.plan);
    if (!rows_are_keys || !cursor_.done() || head_ + 1 == args_.extents.group) return;
    ++head_;
    cursor_.start(machine_, args_.plan, row_tile_);
  }

  // Of this thread: its columns are 8j + 2t + e, its rows first_row() and 8 further.
  ANNULUS_DEVICE int t() const { return machine_.lane() & 3; }
  ANNULUS_DEVICE int first_row() const {
    const int thread = machine_.thread();
    return row_tile_ * rows + (thread >> 5) * 16 + (thread & 31) / 4;
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

  /// Row 0 of a query head in arrays [batch][heads][padded_rows].
  ANNULUS_DEVICE std::int64_t query_row(int head) const {
    const std::int64_t pair = rows_are_keys ? static_cast<std::int64_t>(pair_) * args_.extents.group + head : pair_;
    return pair * args_.extents.padded_rows;
  }
  ANNULUS_DEVICE const T* q(int head) const { return static_cast<const T*>(args_.q) + query_row(head) * width; }
  ANNULUS_DEVICE const T* dout(int head) const { return static_cast<const T*>(args_.dout) + query_row(head) * width; }
  ANNULUS_DEVICE std::int64_t part() const { return static_cast<std::int64_t>(args_.extents.key_rows) * width; }
  ANNULUS_DEVICE const T* k() const {
    const std::int64_t pair = rows_are_keys ? pair_ : pair_ / args_.extents.group;  // heads of a group are neighbours
    return static_cast<const T*>(args_.block) + pair * 2 * part();
  }
  ANNULUS_DEVICE const T* v() const { return k() + part(); }

  ANNULUS_DEVICE void fetch_rows(Tile tile, const T* matrix) {
    const int limit = rows_are_keys ? args_.extents.key_rows : args_.extents.padded_rows;
    fetch_tile<rows, Config::threads>(machine_, tile, matrix, row_tile_ * rows, limit);
  }
  ANNULUS_DEVICE void fetch_columns(Tile tile, const T* matrix) {
    const int limit = rows_are_keys ? args_.extents.padded_rows : args_.extents.key_rows;
    fetch_tile<columns, Config::threads>(machine_, tile, matrix, cursor_.tile() * columns, limit);
  }
  ANNULUS_DEVICE void fetch_stats(std::uint32_t at, const float* stats) {
    const int thread = machine_.thread();
    if (thread >= columns / 4) return;
    const std::int64_t row = query_row(head_) + cursor_.tile() * columns + thread * 4;
    machine_.copy_async(at + static_cast<std::uint32_t>(thread) * 16, stats + row, true);
  }
  ANNULUS_DEVICE void fetch_y(int stage) {
    fetch_columns(y_tile(stage), rows_are_keys ? q(head_) : k());
    if constexpr (rows_are_keys) fetch_stats(lse_at(stage), args_.lse);
    machine_.commit();
  }
  ANNULUS_DEVICE void fetch_w() {
    fetch_columns(w_tile(), rows_are_keys ? dout(head_) : v());
    if constexpr (rows_are_keys && has_first) fetch_stats(delta_at(), args_.delta);
    machine_.commit();
  }

  /// Unseen pairs become -infinity, whose p is 0.
  ANNULUS_DEVICE void hide(const Meeting& now, float (&s)[columns / 8][4]) {
    const int column = now.tile * columns + 2 * t();
    if constexpr (rows_are_keys) {
      ANNULUS_UNROLL
      for (int bit = 0; bit < columns / 4; ++bit) {
        const int query = column + bit / 2 * 8 + bit % 2;
        const std::uint32_t seen = key_pair_seen(machine_, args_.mask, query, first_row());
        float(&pair)[4] = s[bit / 2];
        pair[bit % 2] = (seen & 1U) != 0 ? pair[bit % 2] : minus_infinity;
        pair[2 + bit % 2] = (seen & 2U) != 0 ? pair[2 + bit % 2] : minus_infinity;
      }
    } else {
      ANNULUS_UNROLL
      for (int half = 0; half < 2; ++half) {
        const std::uint32_t seen = keys_seen<columns>(machine_, args_.mask, first_row() + 8 * half, column);
        ANNULUS_UNROLL
        for (int bit = 0; bit < columns / 4; ++bit) {
          float& score = s[bit / 2][2 * half + bit % 2];
          score = (seen >> bit & 1U) != 0 ? score : minus_infinity;
        }
      }
    }
  }

  /// s becomes p, and dp becomes ds.
  ANNULUS_DEVICE void differentiate(const Meeting& now, int stage, float (&s)[columns / 8][4],
                                    float (&dp)[columns / 8][4]) {
    const auto column = static_cast<std::uint32_t>(2 * t());
    ANNULUS_UNROLL
    for (int j = 0; j < columns / 8; ++j) {
      Float2 lse{};
      Float2 delta{};
      if constexpr (rows_are_keys) {
        const std::uint32_t at = (static_cast<std::uint32_t>(j) * 8 + column) * 4;
        lse = machine_.template load_shared<Float2>(lse_at(stage) + at);
        if constexpr (has_first) delta = machine_.template load_shared<Float2>(delta_at() + at);
      }
      ANNULUS_UNROLL
      for (int e = 0; e < 4; ++e) {
        const float row_lse = rows_are_keys ? (e % 2 == 0 ? lse.x : lse.y) : lse_[e / 2];
        const float row_delta = rows_are_keys ? (e % 2 == 0 ? delta.x : delta.y) : delta_[e / 2];
        float slope = 1;
        float exponent;
        if constexpr (general) {
          const Score score = apply_rule(now, j * 8 + e % 2, e / 2, s[j][e]);
          exponent = score.s - row_lse;
          slope = score.slope;
        } else {
          exponent = machine_.fma(s[j][e], args_.score.exponent_scale, -row_lse);
        }
        s[j][e] = machine_.exp2(exponent);
        if constexpr (has_first) dp[j][e] = s[j][e] * (dp[j][e] - row_delta) * slope;
      }
    }
  }

  /// `column` counts from this thread's first, `half` is the row's. Hidden pairs stay hidden.
  ANNULUS_DEVICE Score apply_rule(const Meeting& now, int column, int half, float qk) {
    if (qk == minus_infinity) return {minus_infinity, 1};
    const ScoreArgs& rule = args_.score;
    if (rule.slopes == nullptr) return general_score(machine_, rule, 0, 0, qk);
    const int own = first_row() + 8 * half;
    const int other = now.tile * columns + 2 * t() + column;
    const int head = (rows_are_keys ? pair_ * args_.extents.group + now.head : pair_) % args_.extents.heads;
    const std::int64_t i = position(machine_, rule.query_positions, rows_are_keys ? other : own, args_.mask.q_rows);
    const std::int64_t j = position(machine_, rule.key_positions, rows_are_keys ? own : other, args_.extents.key_rows);
    return general_score(machine_, rule, machine_.load(rule.slopes + head), distance(i, j), qk);
  }

  ANNULUS_DEVICE void store() {
    if constexpr (!rows_are_keys) {
      store_sum(args_.dq + query_row(0) * width, first_, 1, args_.extents.padded_rows);
    } else {
      float* const dk = args_.gradient + static_cast<std::int64_t>(pair_) * 2 * part();
      if constexpr (has_first) store_sum(dk, first_, args_.score.softmax_scale, args_.extents.key_rows);
      if constexpr (has_second) store_sum(dk + part(), second_, 1, args_.extents.key_rows);
    }
  }

  /// Of a matrix [][width], where this thread's first two columns of its first row stand.
  ANNULUS_DEVICE float* own_place(float* matrix) const {
    return matrix + static_cast<std::int64_t>(first_row()) * width + 2 * t();
  }

  ANNULUS_DEVICE void store_sum(float* matrix, const Sums<1, width>& sum, float factor, int limit) {
    float* const place = own_place(matrix);
    ANNULUS_UNROLL
    for (int half = 0; half < 2; ++half) {
      if (first_row() + 8 * half >= limit) continue;
      ANNULUS_UNROLL
      for (int j = 0; j < width / 8; ++j) {
        const Float2 pair{sum[0][j][2 * half] * factor, sum[0][j][2 * half + 1] * factor};
        machine_.store(reinterpret_cast<Float2*>(place + half * 8 * width + j * 8), pair);
      }
    }
  }

  /// The sum of the blocks before, in this thread's registers again.
  ANNULUS_DEVICE void load_sum(float* matrix, Sums<1, width>& sum) {
    const float* const place = own_place(matrix);
    ANNULUS_UNROLL
    for (int half = 0; half < 2; ++half) {
      ANNULUS_UNROLL
      for (int j = 0; j < width / 8; ++j) {
        const auto pair = machine_.load(reinterpret_cast<const Float2*>(place + half * 8 * width + j * 8));
        sum[0][j][2 * half] = pair.x;
        sum[0][j][2 * half + 1] = pair.y;
      }
    }
  }

  Machine& machine_;
  const BackwardArgs& args_;
  int pair_;  ///< (batch, kv head) where rows are keys, else (batch, head)
  int row_tile_;
  int head_ = 0;  ///< of the tile under the cursor, in its group
  TileCursor cursor_;
  Sums<1, width> first_;
  Sums<1, width> second_;
  float lse_[2];  ///< where rows are queries
  float delta_[2];
};

template <class T, int width, bool general, Gradients wanted>
struct BackwardKernel : BackwardConfig<T, width> {
  using Args = BackwardArgs;
  using Element = T;
  static constexpr int row_width = width;
  template <class Machine>
  static ANNULUS_DEVICE void run(Machine& machine, const Args& args) {
    BackwardBlock<Machine, T, width, general, wanted>(machine, args).run();
  }
};

}  // namespace annulus::kernels::cuda
