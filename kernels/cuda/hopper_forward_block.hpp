/// Forward on Hopper: a warpgroup that only fetches (TMA), and two that multiply (wgmma), 64 query rows each. The softmax of
/// a tile runs beside P V of the tile before. The grid stays: its blocks take one row tile after another (PersistentWalk).
///   Shah et al., "FlashAttention-3" (2024), sections 3.1 and 3.2; the carry and the masks are those of ForwardRows.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>

#include "kernels/cuda/config.hpp"
#include "kernels/cuda/forward_rows.hpp"
#include "kernels/cuda/hopper_products.hpp"
#include "kernels/cuda/persistent_walk.hpp"

namespace annulus::kernels::cuda {

/// The state of one thread. Consumers are the first warps: warp w keeps rows [16 w, 16 w + 16) of the row tile in hand.
/// Key tiles and their barriers are counted through all row tiles, by who fetches and who multiplies alike.
template <class Machine, class T, int width, bool general>
class HopperForwardBlock {
  using Config = HopperForwardConfig<T, width>;
  static constexpr int keys = Config::keys;
  using Rows = ForwardRows<Machine, T, width, Config, general>;
  using Scores = typename Rows::Scores;
  using Products = HopperProducts<Machine, T, width, keys>;
  using Weights = typename Products::Narrow;

 public:
  ANNULUS_DEVICE HopperForwardBlock(Machine& machine, const HopperForwardArgs& args)
      : machine_(machine),
        args_(args),
        walk_(static_cast<std::uint32_t>(machine.block()), static_cast<std::uint32_t>(machine.blocks()), args.places) {
    arrive();
  }

  ANNULUS_DEVICE void run() {
    if (machine_.thread() == 0) init_barriers();
    machine_.sync();
    if (machine_.warp() < Config::consumers * 4) {
      machine_.template more_registers<Config::consumer_registers>();
      consume();
    } else {
      machine_.template fewer_registers<Config::producer_registers>();
      if (machine_.thread() == Config::consumers * 128) produce();
    }
  }

 private:
  // Shared memory: Q, the stages of K, of V, barriers.
  static ANNULUS_DEVICE std::uint32_t k_tile(int stage) { return Config::q_bytes + stage * Config::tile_bytes; }
  static ANNULUS_DEVICE std::uint32_t v_tile(int stage) { return k_tile(Config::stages + stage); }
  static ANNULUS_DEVICE std::uint32_t barrier(int index) {
    return k_tile(2 * Config::stages) + static_cast<std::uint32_t>(index * Config::barrier_bytes);
  }
  static ANNULUS_DEVICE std::uint32_t q_full() { return barrier(0); }
  static ANNULUS_DEVICE std::uint32_t q_empty() { return barrier(1); }
  static ANNULUS_DEVICE std::uint32_t k_full(int stage) { return barrier(2 + 4 * stage); }
  static ANNULUS_DEVICE std::uint32_t k_empty(int stage) { return barrier(3 + 4 * stage); }
  static ANNULUS_DEVICE std::uint32_t v_full(int stage) { return barrier(4 + 4 * stage); }
  static ANNULUS_DEVICE std::uint32_t v_empty(int stage) { return barrier(5 + 4 * stage); }

  /// Key tile `i` of all: its stage, and the parity of the turn in which that is filled. They go on where `i` wraps.
  static ANNULUS_DEVICE int stage(std::uint32_t i) { return static_cast<int>(i % Config::stages); }
  static ANNULUS_DEVICE std::uint32_t parity(std::uint32_t i) { return i / Config::stages & 1U; }
  static_assert(std::has_single_bit(std::uint32_t{Config::stages}));
  /// Likewise of row tile `n`: Q has one stage.
  static ANNULUS_DEVICE std::uint32_t q_parity(std::uint32_t n) { return n & 1U; }

  /// The place and its key tiles, where the walk has come to. The cursor is done where there are none, or no more places.
  ANNULUS_DEVICE void arrive() {
    if (walk_.done()) return;
    place_ = ForwardPlace::of(machine_, args_.forward, walk_.place());
    cursor_.start(machine_, args_.forward.plan, place_.tile);
  }
  ANNULUS_DEVICE void move_on() {
    walk_.next();
    arrive();
  }

  ANNULUS_DEVICE void init_barriers() {
    constexpr int readers = Config::consumers * 4;  // a lane of each warp says that it has read
    machine_.barrier_init(q_full(), 1);
    machine_.barrier_init(q_empty(), readers);
    for (int i = 0; i < Config::stages; ++i) {
      machine_.barrier_init(k_full(i), 1);
      machine_.barrier_init(k_empty(i), readers);
      machine_.barrier_init(v_full(i), 1);
      machine_.barrier_init(v_empty(i), readers);
    }
    machine_.barrier_fence();
  }

  /// One thread. An empty barrier's turn before the first counts as over, so the first fills wait for nobody.
  ANNULUS_DEVICE void produce() {
    std::uint32_t i = 0;
    for (std::uint32_t n = 0; !cursor_.done(); ++n, move_on()) {
      fetch_key(i);  // before Q: its stage is free sooner
      machine_.barrier_wait(q_empty(), q_parity(n) ^ 1U);
      fetch<Config::rows>(0, args_.q, place_.tile * Config::rows, place_.pair, q_full());
      fetch_value(i++);
      for (; !cursor_.done(); ++i) {
        fetch_key(i);
        fetch_value(i);
      }
    }
  }

  /// K, then V, of a kv head are planes of the block; heads of a group are neighbours.
  ANNULUS_DEVICE int plane() const { return place_.pair / args_.forward.extents.group * 2; }

  ANNULUS_DEVICE void fetch_key(std::uint32_t i) {
    machine_.barrier_wait(k_empty(stage(i)), parity(i) ^ 1U);
    fetch<keys>(k_tile(stage(i)), args_.block, cursor_.tile() * keys, plane(), k_full(stage(i)));
  }
  /// The cursor's tile is complete then, and behind us.
  ANNULUS_DEVICE void fetch_value(std::uint32_t i) {
    machine_.barrier_wait(v_empty(stage(i)), parity(i) ^ 1U);
    fetch<keys>(v_tile(stage(i)), args_.block, cursor_.tile() * keys, plane() + 1, v_full(stage(i)));
    cursor_.next(machine_, args_.forward.plan);
  }

  template <int rows>
  ANNULUS_DEVICE void fetch(std::uint32_t to, const TensorMap& map, int first, int plane, std::uint32_t full) {
    machine_.barrier_expect(full, rows * width * static_cast<int>(sizeof(T)));
    load_slabs<width, rows>(machine_, to, map, first, plane, full);
  }

  ANNULUS_DEVICE void consume() {
    Rows rows(machine_, args_.forward, place_);
    if (!cursor_.done()) consume_tiles(rows);
    for (; !walk_.done(); move_on()) {  // places without keys come last
      rows.move_to(place_);
      rows.load_carry();
      rows.store_carry();
    }
  }

  /// The carry of a row tile leaves, and that of the next one comes, beside the first scores of the next. Those begin
  /// when the last P V is over, which the look for the next place runs beside: with both in flight here, ptxas 13.0
  /// serializes all wgmma.
  ANNULUS_DEVICE void consume_tiles(Rows& rows) {
    Scores s;
    Weights p;
    std::uint32_t i = 0;
    machine_.barrier_wait(q_full(), q_parity(0));
    start_scores(s, i);
    for (std::uint32_t n = 1;; ++n) {
      rows.load_carry();
      i = attend(rows, s, p, i);
      move_on();
      machine_.template wait_products<0>(rows.o()[0]);
      release(v_empty(stage(i - 1)));
      if (cursor_.done()) break;
      machine_.barrier_wait(q_full(), q_parity(n));
      start_scores(s, i);
      rows.store_carry();
      rows.move_to(place_);
    }
    rows.store_carry();
  }

  /// Past all key tiles of a row tile. The scores of the first one, which is tile `i` of all, are under way; P V of the last
  /// one is, in the end. Returns the tile after it.
  ANNULUS_DEVICE std::uint32_t attend(Rows& rows, Scores& s, Weights& p, std::uint32_t i) {
    typename Rows::Factors factors;
    machine_.template wait_products<0>(s[0]);
    weigh(rows, s, factors, i);
    rows.rescale(factors);
    Products::narrow(machine_, s[0], p);
    for (++i; !cursor_.done(); ++i) {
      start_scores(s, i);
      start_values(rows, p, i - 1);
      machine_.template wait_products<1>(s[0]);
      weigh(rows, s, factors, i);
      machine_.template wait_products<0>(rows.o()[0]);
      release(v_empty(stage(i - 1)));
      rows.rescale(factors);
      Products::narrow(machine_, s[0], p);
    }
    start_values(rows, p, i - 1);
    return i;
  }

  /// Mask, general rule and softmax of the scores of the cursor's tile, `i` of all, which is behind us then.
  ANNULUS_DEVICE void weigh(Rows& rows, Scores& s, typename Rows::Factors& factors, std::uint32_t i) {
    release(k_empty(stage(i)));
    if (cursor_.at_last()) release(q_empty());
    rows.finish_scores(s, cursor_.tile() * keys, cursor_.masked());
    rows.softmax(s, factors);
    cursor_.next(machine_, args_.forward.plan);
  }

  /// s = Q K^T of tile i, under way.
  ANNULUS_DEVICE void start_scores(Scores& s, std::uint32_t i) {
    const auto first_row = static_cast<std::uint32_t>(machine_.warp() / 4 * 64 * slab_row_bytes);
    machine_.barrier_wait(k_full(stage(i)), parity(i));
    Products::template dot<Config::rows>(machine_, s[0], first_row, k_tile(stage(i)));
  }

  /// O += P V of tile i, under way.
  ANNULUS_DEVICE void start_values(Rows& rows, Weights& p, std::uint32_t i) {
    machine_.barrier_wait(v_full(stage(i)), parity(i));
    Products::add(machine_, rows.o()[0], p, v_tile(stage(i)));
  }

  ANNULUS_DEVICE void release(std::uint32_t empty) {
    if (machine_.lane() == 0) machine_.barrier_arrive(empty);
  }

  Machine& machine_;
  const HopperForwardArgs& args_;
  PersistentWalk walk_;
  ForwardPlace place_{};
  TileCursor cursor_;
};

template <class T, int width, bool general>
struct HopperForwardKernel : HopperForwardConfig<T, width> {
  using Args = HopperForwardArgs;
  using Element = T;
  static constexpr int row_width = width;
  template <class Machine>
  static ANNULUS_DEVICE void run(Machine& machine, const Args& args) {
    HopperForwardBlock<Machine, T, width, general>(machine, args).run();
  }
};

}  // namespace annulus::kernels::cuda
