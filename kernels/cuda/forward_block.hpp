/// Forward with mma.sync: one block of threads takes its query rows past every key tile that they see and leaves their
/// carry (ForwardRows).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/config.hpp"
#include "kernels/cuda/forward_rows.hpp"

namespace annulus::kernels::cuda {

/// The state of one thread. `general`: scores follow the general rule (ScoreArgs).
template <class Machine, class T, int width, bool general>
class ForwardBlock {
  using Config = ForwardConfig<T, width>;
  static constexpr int row_tiles = Config::row_tiles;
  static constexpr int keys = Config::keys;
  static constexpr int tile_bytes = keys * width * static_cast<int>(sizeof(T));
  using Tile = SharedTile<T, width>;
  using Rows = ForwardRows<Machine, T, width, Config, general>;

 public:
  ANNULUS_DEVICE ForwardBlock(Machine& machine, const ForwardArgs& args, ForwardPlace place)
      : machine_(machine), args_(args), rows_(machine, args, place) {
    const Extents& extents = args.extents;
    q_ = static_cast<const T*>(args.q) +
         (static_cast<std::int64_t>(place.pair) * extents.padded_rows + place.tile * Config::rows) * width;
    const std::int64_t kv_pair = place.pair / extents.group;  // heads of a group are neighbours
    k_ = static_cast<const T*>(args.block) + kv_pair * 2 * part();
    cursor_.start(machine, args.plan, place.tile);
  }

  /// K and V have one buffer each: V travels while S is computed, the next K during the softmax and P V. The other
  /// block on the processor fills the gaps.
  ANNULUS_DEVICE void run() {
    if (!cursor_.done()) {
      fetch_tile<Config::rows, Config::threads>(machine_, q_tile(), q_, 0, Config::rows);
      fetch(k_tile(), k_);
    }
    rows_.load_carry();
    while (!cursor_.done()) {
      land();  // K, and nobody reads V any longer
      fetch(v_tile(), k_ + part());
      typename Rows::Scores s;
      clear<row_tiles, keys>(s);
      Products<T>::template dot_rows<row_tiles, keys>(machine_, q_tile(), rows_.warp_row(), k_tile(), s);
      rows_.finish_scores(s, cursor_.tile() * keys, cursor_.masked());
      cursor_.next(machine_, args_.plan);
      land();  // V, and nobody reads K any longer
      if (!cursor_.done()) fetch(k_tile(), k_);
      typename Rows::Factors factors;
      rows_.softmax(s, factors);
      rows_.rescale(factors);
      Products<T>::template add_rows<row_tiles, keys>(machine_, s, v_tile(), rows_.o());
    }
    rows_.store_carry();
  }

 private:
  ANNULUS_DEVICE Tile q_tile() const { return {0}; }
  ANNULUS_DEVICE Tile k_tile() const { return {Config::rows * width * static_cast<std::uint32_t>(sizeof(T))}; }
  ANNULUS_DEVICE Tile v_tile() const { return {k_tile().base + tile_bytes}; }
  /// Elements of K or V of one (batch, kv head).
  ANNULUS_DEVICE std::int64_t part() const { return static_cast<std::int64_t>(args_.extents.key_rows) * width; }

  ANNULUS_DEVICE void fetch(Tile tile, const T* matrix) {
    fetch_tile<keys, Config::threads>(machine_, tile, matrix, cursor_.tile() * keys, args_.extents.key_rows);
    machine_.commit();
  }
  ANNULUS_DEVICE void land() {
    machine_.wait_all();
    machine_.sync();
  }

  Machine& machine_;
  const ForwardArgs& args_;
  Rows rows_;
  const T* q_;  ///< of the block's rows
  const T* k_;  ///< of its kv head
  TileCursor cursor_;
};

/// What launchers see of a kernel: its block, and the body that every thread runs.
template <class T, int width, bool general>
struct ForwardKernel : ForwardConfig<T, width> {
  using Args = ForwardArgs;
  using Element = T;
  static constexpr int row_width = width;
  template <class Machine>
  static ANNULUS_DEVICE void run(Machine& machine, const Args& args) {
    const auto number = static_cast<std::uint32_t>(machine.block());
    ForwardBlock<Machine, T, width, general>(machine, args, ForwardPlace::of(machine, args, number)).run();
  }
};

}  // namespace annulus::kernels::cuda
