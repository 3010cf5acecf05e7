/// Rows of the backward pass, queries or keys, that keep their gradients while the other side's tiles come by.
///   p_ij = 2^(s_ij - lse_i);  ds_ij = p_ij (dout_i.v_j - delta_i) slope_ij        (s and lse in log2 units)
///   dq_i = sum_j ds_ij k_j;   dk_j = sum_i ds_ij q_i;   dv_j = sum_i p_ij dout_i  (dq and dk times softmax_scale)
/// With rows x, u and columns y, w, that is (q, dout | k, v) or (k, v | q, dout), either side reads
///   s = x y^T;  dp = u w^T;  first += ds y;  second += p w
/// and no two blocks add to the same place: the bits depend neither on timing nor on the number of processors. (Where all
/// gradients are wanted at once, that holds for dk and dv alone: hopper_query_share.hpp.)
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/products.hpp"
#include "kernels/cuda/scores.hpp"

namespace annulus::kernels::cuda {

/// What one kernel computes. dk and dv apart where the registers do not hold both; all: rows are keys, and what queries
/// receive from them is added up in global memory, in no order ("fused").
enum class Gradients { dq, dk_and_dv, dk, dv, all };

/// A column tile of one query head.
struct Meeting {
  int tile;
  bool masked;
  int head;  ///< in its group; 0 where rows are queries
};

/// The column tiles that a block's row tile meets: where rows are keys, those of every query head that reads them.
template <bool rows_are_keys>
class Meetings {
 public:
  template <class Machine>
  ANNULUS_DEVICE Meetings(Machine& machine, const BackwardArgs& args) : group_(args.extents.group) {
    const Extents& extents = args.extents;
    const std::int64_t heads = rows_are_keys ? extents.heads / extents.group : extents.heads;
    const std::int64_t pairs = extents.batch * heads;
    pair_ = static_cast<std::int32_t>(machine.block() % pairs);
    row_tile_ = machine.load(args.plan.order + machine.block() / pairs);
    cursor_.start(machine, args.plan, row_tile_);
  }

  /// (batch, kv head) where rows are keys, else (batch, head).
  ANNULUS_DEVICE int pair() const { return pair_; }
  ANNULUS_DEVICE int row_tile() const { return row_tile_; }
  /// (batch, head) of the tile in hand, and (batch, kv head): heads of a group are neighbours.
  ANNULUS_DEVICE int query_pair() const { return rows_are_keys ? pair_ * group_ + head_ : pair_; }
  ANNULUS_DEVICE int key_pair() const { return rows_are_keys ? pair_ : pair_ / group_; }

  ANNULUS_DEVICE bool done() const { return cursor_.done(); }
  ANNULUS_DEVICE Meeting now() const { return {cursor_.tile(), cursor_.masked(), head_}; }
  /// To the next column tile, or the first one of the next head that reads these keys.
  template <class Machine>
  ANNULUS_DEVICE void next(Machine& machine, const TilePlanView& plan) {
    cursor_.next(machine, plan);
    if (!rows_are_keys || !cursor_.done() || head_ + 1 == group_) return;
    ++head_;
    cursor_.start(machine, plan, row_tile_);
  }

 private:
  std::int32_t group_;
  std::int32_t pair_;
  std::int32_t row_tile_;
  std::int32_t head_ = 0;
  TileCursor cursor_;
};

/// Warp w has rows [16 w, 16 w + 16) of the block's `rows` and meets `columns` columns at a time. `general`: scores follow
/// the general rule (ScoreArgs).
template <class Machine, class T, int width, int rows, int columns, bool general, Gradients wanted>
class BackwardRows {
 public:
  static constexpr bool rows_are_keys = wanted != Gradients::dq;
  static constexpr bool has_first = wanted != Gradients::dv;
  static constexpr bool has_second = wanted != Gradients::dq && wanted != Gradients::dk;
  using Scores = Sums<1, columns>;

  ANNULUS_DEVICE BackwardRows(Machine& machine, const BackwardArgs& args, int pair, int row_tile)
      : machine_(machine), args_(args), pair_(pair), row_tile_(row_tile) {}

  /// For who multiplies.
  ANNULUS_DEVICE Sums<1, width>& first() { return first_; }
  ANNULUS_DEVICE Sums<1, width>& second() { return second_; }

  ANNULUS_DEVICE void load_carry() {
    clear<1, width>(first_);
    clear<1, width>(second_);
    if (!rows_are_keys && args_.fresh == 0) load_sum(args_.dq + query_row() * width, first_);
  }

  /// What queries know of themselves. Where columns are queries, differentiate() reads it from shared memory.
  ANNULUS_DEVICE void load_stats() {
    if constexpr (!rows_are_keys) {
      ANNULUS_UNROLL
      for (int half = 0; half < 2; ++half) {
        const std::int64_t at = query_row() + first_row() + 8 * half;
        lse_[half] = machine_.load(args_.lse + at);
        delta_[half] = machine_.load(args_.delta + at);
      }
    }
  }

  /// s becomes p, and dp becomes ds. Where columns are queries, their lse and delta stand in shared memory.
  ANNULUS_DEVICE void differentiate(const Meeting& now, std::uint32_t lse_at, std::uint32_t delta_at,
                                    float (&s)[columns / 8][4], float (&dp)[columns / 8][4]) {
    if (now.masked) hide(now.tile, s);
    const auto column = static_cast<std::uint32_t>(2 * t());
    ANNULUS_UNROLL
    for (int j = 0; j < columns / 8; ++j) {
      Float2 lse{};
      Float2 delta{};
      if constexpr (rows_are_keys) {
        const std::uint32_t at = (static_cast<std::uint32_t>(j) * 8 + column) * 4;
        lse = machine_.template load_shared<Float2>(lse_at + at);
        if constexpr (has_first) delta = machine_.template load_shared<Float2>(delta_at + at);
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

  ANNULUS_DEVICE void store() {
    if constexpr (!rows_are_keys) {
      store_sum(args_.dq + query_row() * width, first_, 1, args_.extents.padded_rows);
    } else {
      float* const dk = args_.gradient + static_cast<std::int64_t>(pair_) * 2 * part();
      if constexpr (has_first) store_sum(dk, first_, args_.score.softmax_scale, args_.extents.key_rows);
      if constexpr (has_second) store_sum(dk + part(), second_, 1, args_.extents.key_rows);
    }
  }

 private:
  // Of this thread: its columns are 8j + 2t + e, its rows first_row() and 8 further.
  ANNULUS_DEVICE int t() const { return machine_.lane() & 3; }
  ANNULUS_DEVICE int first_row() const {
    const int thread = machine_.thread();
    return row_tile_ * rows + (thread >> 5) * 16 + (thread & 31) / 4;
  }
  /// Row 0 of the query head in arrays [batch][heads][padded_rows], where rows are queries.
  ANNULUS_DEVICE std::int64_t query_row() const {
    return static_cast<std::int64_t>(pair_) * args_.extents.padded_rows;
  }
  /// Elements of dK or dV of one (batch, kv head).
  ANNULUS_DEVICE std::int64_t part() const { return static_cast<std::int64_t>(args_.extents.key_rows) * width; }

  /// Unseen pairs become -infinity, whose p is 0.
  ANNULUS_DEVICE void hide(int tile, float (&s)[columns / 8][4]) {
    const int column = tile * columns + 2 * t();
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
  Sums<1, width> first_;
  Sums<1, width> second_;
  float lse_[2];  ///< where rows are queries
  float delta_[2];
};

}  // namespace annulus::kernels::cuda
