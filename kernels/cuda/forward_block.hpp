/// Forward: one block of threads takes its query rows past every key tile that they see and leaves their carry.
///   m' = max(m, max_j s_j);  O = O 2^(m-m') + sum_j 2^(s_j-m') v_j;  l = l 2^(m-m') + sum_j 2^(s_j-m')    (log2 units)
/// `weight` is l of the p that O sums up, rounded to 16 bits: divided by it, weights add up to 1 again.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/config.hpp"
#include "kernels/cuda/products.hpp"
#include "kernels/cuda/scores.hpp"

namespace annulus::kernels::cuda {

/// The state of one thread. `general`: scores follow the general rule (ScoreArgs).
template <class Machine, class T, int width, bool general>
class ForwardBlock {
  using Config = ForwardConfig<T, width>;
  static constexpr int row_tiles = Config::row_tiles;
  static constexpr int keys = Config::keys;
  static constexpr bool rounds = sizeof(T) == 2;
  static constexpr int tile_bytes = keys * width * static_cast<int>(sizeof(T));
  using Tile = SharedTile<T, width>;

 public:
  ANNULUS_DEVICE ForwardBlock(Machine& machine, const ForwardArgs& args) : machine_(machine), args_(args) {
    const Extents& extents = args.extents;
    const std::int64_t pairs = static_cast<std::int64_t>(extents.batch) * extents.heads;
    pair_ = static_cast<std::int32_t>(machine.block() % pairs);
    const int tile = machine.load(args.plan.order + machine.block() / pairs);
    first_row_ = tile * Config::rows;
    const std::int64_t kv_pair = pair_ / extents.group;  // heads of a group are neighbours
    k_ = static_cast<const T*>(args.block) + kv_pair * 2 * part();
    cursor_.start(machine, args.plan, tile);
  }

  /// K and V have one buffer each: V travels while S is computed, the next K during the softmax and P V. The other
  /// block on the processor fills the gaps.
  ANNULUS_DEVICE void run() {
    if (!cursor_.done()) {
      fetch_tile<Config::rows, Config::threads>(machine_, q_tile(), static_cast<const T*>(args_.q) + row() * width, 0,
                                                Config::rows);
      fetch(k_tile(), k_);
    }
    load_carry();
    while (!cursor_.done()) {
      land();  // K, and nobody reads V any longer
      fetch(v_tile(), k_ + part());
      Sums<row_tiles, keys> s;
      clear<row_tiles, keys>(s);
      Products<T>::template dot_rows<row_tiles, keys>(machine_, q_tile(), warp_row(), k_tile(), s);
      finish_scores(s);
      cursor_.next(machine_, args_.plan);
      land();  // V, and nobody reads K any longer
      if (!cursor_.done()) fetch(k_tile(), k_);
      softmax(s);
      Products<T>::template add_rows<row_tiles, keys>(machine_, s, v_tile(), o_);
    }
    store_carry();
  }

 private:
  ANNULUS_DEVICE Tile q_tile() const { return {0}; }
  ANNULUS_DEVICE Tile k_tile() const { return {Config::rows * width * static_cast<std::uint32_t>(sizeof(T))}; }
  ANNULUS_DEVICE Tile v_tile() const { return {k_tile().base + tile_bytes}; }
  ANNULUS_DEVICE int warp_row() const { return machine_.warp() * 16 * row_tiles; }
  ANNULUS_DEVICE int g() const { return machine_.lane() >> 2; }
  ANNULUS_DEVICE int t() const { return machine_.lane() & 3; }
  /// Elements of K or V of one (batch, kv head).
  ANNULUS_DEVICE std::int64_t part() const { return static_cast<std::int64_t>(args_.extents.key_rows) * width; }
  /// The first row of the tile in arrays [batch][heads][padded_rows].
  ANNULUS_DEVICE std::int64_t row() const {
    return static_cast<std::int64_t>(pair_) * args_.extents.padded_rows + first_row_;
  }
  /// Of this thread's rows, in the tile: half 0 or 1 of row tile i.
  ANNULUS_DEVICE int row_of(int i, int half) const { return warp_row() + i * 16 + half * 8 + g(); }

  ANNULUS_DEVICE void fetch(Tile tile, const T* matrix) {
    fetch_tile<keys, Config::threads>(machine_, tile, matrix, cursor_.tile() * keys, args_.extents.key_rows);
    machine_.commit();
  }
  ANNULUS_DEVICE void land() {
    machine_.wait_all();
    machine_.sync();
  }

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

  /// Over the four lanes that share a row.
  ANNULUS_DEVICE float quad_sum(float x) {
    x += machine_.shuffle_xor(x, 1);
    return x + machine_.shuffle_xor(x, 2);
  }

  /// The general rule and the mask. Columns of this lane: 8j + 2t + e.
  ANNULUS_DEVICE void finish_scores(Sums<row_tiles, keys>& s) {
    const int first_key = cursor_.tile() * keys + 2 * t();
    ANNULUS_UNROLL
    for (int i = 0; i < row_tiles; ++i) {
      ANNULUS_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int row = first_row_ + row_of(i, half);
        if constexpr (general) apply_rule(s[i], half, row, first_key);
        if (cursor_.masked()) hide(s[i], half, keys_seen<keys>(machine_, args_.mask, row, first_key));
      }
    }
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

  /// Turns s into p and rescales what was summed before.
  ANNULUS_DEVICE void softmax(Sums<row_tiles, keys>& s) {
    ANNULUS_UNROLL
    for (int i = 0; i < row_tiles; ++i) {
      ANNULUS_UNROLL
      for (int half = 0; half < 2; ++half) softmax_row(s[i], o_[i], i, half);
    }
  }

  ANNULUS_DEVICE void softmax_row(float (&s)[keys / 8][4], float (&o)[width / 8][4], int i, int half) {
    const float scale = general ? 1 : args_.score.exponent_scale;
    float top = minus_infinity;
    ANNULUS_UNROLL
    for (int bit = 0; bit < keys / 4; ++bit) top = larger(top, s[bit / 2][2 * half + bit % 2]);
    top = larger(top, machine_.shuffle_xor(top, 1));
    top = larger(top, machine_.shuffle_xor(top, 2));
    const float before = m_[i][half];
    const float m = larger(before, top * scale);
    const float shift = m == minus_infinity ? 0 : m;  // -inf - -inf would be NaN
    const float rescale = machine_.exp2(before - shift);
    m_[i][half] = m;
    l_[i][half] *= rescale;
    weight_[i][half] *= rescale;
    if (!machine_.all(rescale == 1)) {  // maxima settle after a few tiles
      ANNULUS_UNROLL
      for (int j = 0; j < width / 8; ++j) {
        o[j][2 * half] *= rescale;
        o[j][2 * half + 1] *= rescale;
      }
    }
    ANNULUS_UNROLL
    for (int j = 0; j < keys / 8; ++j) {
      float& p = s[j][2 * half];
      float& q = s[j][2 * half + 1];
      p = machine_.exp2(machine_.fma(p, scale, -shift));
      q = machine_.exp2(machine_.fma(q, scale, -shift));
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
  int first_row_;  ///< of the tile
  const T* k_;
  TileCursor cursor_;
  Sums<row_tiles, width> o_;
  float m_[row_tiles][2];
  float l_[row_tiles][2];
  float weight_[row_tiles][2];
};

/// What launchers see of a kernel: its block, and the body that every thread runs.
template <class T, int width, bool general>
struct ForwardKernel : ForwardConfig<T, width> {
  using Args = ForwardArgs;
  using Element = T;
  static constexpr int row_width = width;
  template <class Machine>
  static ANNULUS_DEVICE void run(Machine& machine, const Args& args) {
    ForwardBlock<Machine, T, width, general>(machine, args).run();
  }
};

}  // namespace annulus::kernels::cuda
