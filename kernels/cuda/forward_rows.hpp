/// The query rows of one warp on their way past the keys: their carry, in registers, and what scores do to it.
///   m' = max(m, max_j s_j);  O = O 2^(m-m') + sum_j 2^(s_j-m') v_j;  l = l 2^(m-m') + sum_j 2^(s_j-m')    (log2 units)
/// `weight` is l of the p that O sums up, rounded to 16 bits: divided by it, weights add up to 1 again.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/exp2_polynomial.hpp"
#include "kernels/cuda/products.hpp"
#include "kernels/cuda/scores.hpp"

namespace annulus::kernels::cuda {

/// Which (batch, head) and which row tile is worked on: tiles in the order of the plan, pairs within.
struct ForwardPlace {
  std::int32_t pair;
  std::int32_t tile;

  /// The places of a launch are numbered; there are fewer than 2^31 (check_grid).
  template <class Machine>
  static ANNULUS_DEVICE ForwardPlace of(Machine& machine, const ForwardArgs& args, std::uint32_t number) {
    const auto pairs = static_cast<std::uint32_t>(args.extents.batch) * static_cast<std::uint32_t>(args.extents.heads);
    return {static_cast<std::int32_t>(number % pairs), machine.load(args.plan.order + number / pairs)};
  }
};

/// Warp w has rows [16 row_tiles w, 16 row_tiles (w + 1)) of the block's and meets `keys` keys at a time, both of Config.
/// `general`: scores follow the general rule (ScoreArgs).
template <class Machine, class T, int width, class Config, bool general>
class ForwardRows {
  static constexpr int keys = Config::keys;
  static constexpr int row_tiles = Config::row_tiles;
  static constexpr bool rounds = sizeof(T) == 2;

 public:
  using Scores = Sums<row_tiles, keys>;
  using Factors = float[row_tiles][2];

  ANNULUS_DEVICE ForwardRows(Machine& machine, const ForwardArgs& args, ForwardPlace place)
      : machine_(machine), args_(args), pair_(place.pair), first_row_(place.tile * Config::rows) {}

  /// On to other rows, whose carry is to be loaded.
  ANNULUS_DEVICE void move_to(ForwardPlace place) {
    pair_ = place.pair;
    first_row_ = place.tile * Config::rows;
  }

  /// The running sum of p v, for who multiplies.
  ANNULUS_DEVICE Sums<row_tiles, width>& o() { return o_; }
  ANNULUS_DEVICE int warp_row() const { return machine_.warp() * 16 * row_tiles; }

  ANNULUS_DEVICE void load_carry() {
    const std::int64_t at = row() + row_of(0, 0);
    const float* const o = args_.o + at * width + 2 * t();
    clear<row_tiles, width>(o_);
    ANNULUS_UNROLL
    for (int i = 0; i < row_tiles; ++i) {
      ANNULUS_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int down = i * 16 + half * 8;
        m_[i][half] = minus_infinity;
        l_[i][half] = 0;
        weight_[i][half] = 0;
        if (args_.fresh != 0) continue;
        m_[i][half] = machine_.load(args_.m + at + down);
        if (t() == 0) {  // lanes sum apart until the end
          l_[i][half] = machine_.load(args_.l + at + down);
          if constexpr (rounds) weight_[i][half] = machine_.load(args_.weight + at + down);
        }
        ANNULUS_UNROLL
        for (int j = 0; j < width / 8; ++j) {
          const auto pair = machine_.load(reinterpret_cast<const Float2*>(o + down * width + j * 8));
          o_[i][j][2 * half] = pair.x;
          o_[i][j][2 * half + 1] = pair.y;
        }
      }
    }
  }

  ANNULUS_DEVICE void store_carry() {
    const std::int64_t at = row() + row_of(0, 0);
    float* const o = args_.o + at * width + 2 * t();
    ANNULUS_UNROLL
    for (int i = 0; i < row_tiles; ++i) {
      ANNULUS_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int down = i * 16 + half * 8;
        const float l = quad_sum(l_[i][half]);
        const float weight = rounds ? quad_sum(weight_[i][half]) : l;
        if (t() == 0) {
          machine_.store(args_.m + at + down, m_[i][half]);
          machine_.store(args_.l + at + down, l);
          if constexpr (rounds) machine_.store(args_.weight + at + down, weight);
        }
        ANNULUS_UNROLL
        for (int j = 0; j < width / 8; ++j) {
          machine_.store(reinterpret_cast<Float2*>(o + down * width + j * 8),
                         Float2{o_[i][j][2 * half], o_[i][j][2 * half + 1]});
        }
      }
    }
  }

  /// The general rule and the mask on scores of the keys from `first` on. Columns of this lane: 8j + 2t + e.
  ANNULUS_DEVICE void finish_scores(Scores& s, int first, bool masked) {
    const int first_key = first + 2 * t();
    ANNULUS_UNROLL
    for (int i = 0; i < row_tiles; ++i) {
      ANNULUS_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int row = first_row_ + row_of(i, half);
        if constexpr (general) apply_rule(s[i], half, row, first_key);
        if (masked) hide(s[i], half, keys_seen<keys>(machine_, args_.mask, row, first_key));
      }
    }
  }

  /// Turns s into p. What was summed before has to be multiplied by `factors`, which has happened to l and weight.
  ANNULUS_DEVICE void softmax(Scores& s, Factors& factors) {
    ANNULUS_UNROLL
    for (int i = 0; i < row_tiles; ++i) {
      ANNULUS_UNROLL
      for (int half = 0; half < 2; ++half) softmax_row(s[i], factors[i][half], i, half);
    }
  }

  /// O catches up with the maximum.
  ANNULUS_DEVICE void rescale(const Factors& factors) {
    ANNULUS_UNROLL
    for (int i = 0; i < row_tiles; ++i) {
      ANNULUS_UNROLL
      for (int half = 0; half < 2; ++half) {
        if (machine_.all(factors[i][half] == 1)) continue;  // maxima settle after a few tiles
        ANNULUS_UNROLL
        for (int j = 0; j < width / 8; ++j) {
          o_[i][j][2 * half] *= factors[i][half];
          o_[i][j][2 * half + 1] *= factors[i][half];
        }
      }
    }
  }

 private:
  ANNULUS_DEVICE int g() const { return machine_.lane() >> 2; }
  ANNULUS_DEVICE int t() const { return machine_.lane() & 3; }
  /// The first row of the block in arrays [batch][heads][padded_rows].
  ANNULUS_DEVICE std::int64_t row() const {
    return static_cast<std::int64_t>(pair_) * args_.extents.padded_rows + first_row_;
  }
  /// Of this thread's rows, in the block: half 0 or 1 of row tile i.
  ANNULUS_DEVICE int row_of(int i, int half) const { return warp_row() + i * 16 + half * 8 + g(); }

  /// Over the four lanes that share a row.
  ANNULUS_DEVICE float quad_sum(float x) {
    x += machine_.shuffle_xor(x, 1);
    return x + machine_.shuffle_xor(x, 2);
  }

  ANNULUS_DEVICE void hide(float (&s)[keys / 8][4], int half, std::uint32_t seen) {
    ANNULUS_UNROLL
    for (int bit = 0; bit < keys / 4; ++bit) {
      float& score = s[bit / 2][2 * half + bit % 2];
      score = (seen >> bit & 1U) != 0 ? score : minus_infinity;
    }
  }

  ANNULUS_DEVICE void apply_rule(float (&s)[keys / 8][4], int half, int row, int first_key) {
    const ScoreArgs& rule = args_.score;
    const bool alibi = rule.slopes != nullptr;
    const float slope = alibi ? machine_.load(rule.slopes + pair_ % args_.extents.heads) : 0;
    const std::int64_t i = alibi ? position(machine_, rule.query_positions, row, args_.mask.q_rows) : 0;
    ANNULUS_UNROLL
    for (int bit = 0; bit < keys / 4; ++bit) {
      const int key = first_key + bit / 2 * 8 + bit % 2;
      const std::int64_t j = alibi ? position(machine_, rule.key_positions, key, args_.extents.key_rows) : 0;
      float& score = s[bit / 2][2 * half + bit % 2];
      score = general_score(machine_, rule, slope, distance(i, j), score).s;
    }
  }

  /// 2^x of the j-th pair. A NaN among the scores is in the maximum, so in all of its row, whoever computes their powers.
  ANNULUS_DEVICE float power(int j, float x) {
    if constexpr (Config::polynomial_every != 0) {
      constexpr int every = Config::polynomial_every;
      if (j % every == every - 1) return exp2_by_polynomial<Config::polynomial_degree>(machine_, x);
    }
    return machine_.exp2(x);
  }

  ANNULUS_DEVICE void softmax_row(float (&s)[keys / 8][4], float& factor, int i, int half) {
    const float scale = general ? 1 : args_.score.exponent_scale;
    float top = minus_infinity;
    ANNULUS_UNROLL
    for (int bit = 0; bit < keys / 4; ++bit) top = machine_.larger(top, s[bit / 2][2 * half + bit % 2]);
    top = machine_.larger(top, machine_.shuffle_xor(top, 1));
    top = machine_.larger(top, machine_.shuffle_xor(top, 2));
    const float before = m_[i][half];
    const float m = machine_.larger(before, top * scale);
    const float shift = m == minus_infinity ? 0 : m;  // -inf - -inf would be NaN
    factor = machine_.exp2(before - shift);
    m_[i][half] = m;
    l_[i][half] *= factor;
    weight_[i][half] *= factor;
    ANNULUS_UNROLL
    for (int j = 0; j < keys / 8; ++j) {
      float& p = s[j][2 * half];
      float& q = s[j][2 * half + 1];
      p = power(j, machine_.fma(p, scale, -shift));
      q = power(j, machine_.fma(q, scale, -shift));
      l_[i][half] += p + q;
      if constexpr (rounds) {
        const Float2 rounded = machine_.template floats<T>(machine_.template pair<T>(p, q));
        weight_[i][half] += rounded.x + rounded.y;
      }
    }
  }

  Machine& machine_;
  const ForwardArgs& args_;
  int pair_;       ///< (batch, head)
  int first_row_;  ///< of the row tile
  Sums<row_tiles, width> o_;
  float m_[row_tiles][2];
  float l_[row_tiles][2];
  float weight_[row_tiles][2];
};

}  // namespace annulus::kernels::cuda
