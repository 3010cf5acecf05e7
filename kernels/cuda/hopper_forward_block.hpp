/// Forward on Hopper: a warpgroup that only fetches (TMA), and two that multiply (wgmma), 64 query rows each. The softmax of
/// a tile runs beside P V of the tile before.
///   Shah et al., "FlashAttention-3" (2024), sections 3.1 and 3.2; the carry and the masks are those of ForwardRows.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/config.hpp"
#include "kernels/cuda/forward_rows.hpp"
#include "kernels/cuda/hopper_products.hpp"

namespace annulus::kernels::cuda {

/// The state of one thread. Consumers are the first warps: warp w keeps rows [16 w, 16 w + 16) of the block.
template <class Machine, class T, int width, bool general>
class HopperForwardBlock {
  using Config = HopperForwardConfig<T, width>;
  static constexpr int keys = Config::keys;
  using Rows = ForwardRows<Machine, T, width, Config, general>;
  using Scores = typename Rows::Scores;
  using Products = HopperProducts<Machine, T, width, keys>;
  using Weights = typename Products::Narrow;

 public:
  ANNULUS_DEVICE HopperForwardBlock(Machine& machine, const HopperForwardArgs& args, ForwardPlace place)
      : machine_(machine), args_(args), place_(place) {
    cursor_.start(machine, args.forward.plan, place.tile);
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
  static ANNULUS_DEVICE std::uint32_t k_full(int stage) { return barrier(1 + 4 * stage); }
  static ANNULUS_DEVICE std::uint32_t k_empty(int stage) { return barrier(2 + 4 * stage); }
  static ANNULUS_DEVICE std::uint32_t v_full(int stage) { return barrier(3 + 4 * stage); }
  static ANNULUS_DEVICE std::uint32_t v_empty(int stage) { return barrier(4 + 4 * stage); }

  /// Tile `i` of the walk: its stage, and the parity of the turn in which that is filled.
  static ANNULUS_DEVICE int stage(int i) { return i % Config::stages; }
  static ANNULUS_DEVICE std::uint32_t parity(int i) { return static_cast<std::uint32_t>(i / Config::stages & 1); }

  ANNULUS_DEVICE void init_barriers() {
    constexpr int readers = Config::consumers * 4;  // a lane of each warp says that it has read
    machine_.barrier_init(q_full(), 1);
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
    const ForwardArgs& forward = args_.forward;
    if (cursor_.done()) return;
    fetch<Config::rows>(0, args_.q, place_.tile * Config::rows, place_.pair, q_full());
    const int plane = place_.pair / forward.extents.group * 2;  // K, then V, of a kv head; heads of a group are neighbours
    for (int i = 0; !cursor_.done(); cursor_.next(machine_, forward.plan), ++i) {
      machine_.barrier_wait(k_empty(stage(i)), parity(i) ^ 1U);
      fetch<keys>(k_tile(stage(i)), args_.block, cursor_.tile() * keys, plane, k_full(stage(i)));
      machine_.barrier_wait(v_empty(stage(i)), parity(i) ^ 1U);
      fetch<keys>(v_tile(stage(i)), args_.block, cursor_.tile() * keys, plane + 1, v_full(stage(i)));
    }
  }

  template <int rows>
  ANNULUS_DEVICE void fetch(std::uint32_t to, const TensorMap& map, int first, int plane, std::uint32_t full) {
    machine_.barrier_expect(full, rows * width * static_cast<int>(sizeof(T)));
    load_slabs<width, rows>(machine_, to, map, first, plane, full);
  }

  ANNULUS_DEVICE void consume() {
    Rows rows(machine_, args_.forward, place_.pair, place_.tile * Config::rows);
    rows.load_carry();
    if (!cursor_.done()) attend(rows);
    rows.store_carry();
  }

  ANNULUS_DEVICE void attend(Rows& rows) {
    Scores s;
    Weights p;
    typename Rows::Factors factors;
    machine_.barrier_wait(q_full(), 0);
    start_scores(s, 0);
    machine_.template wait_products<0>(s[0]);
    release(k_empty(stage(0)));
    weigh(rows, s, factors);
    rows.rescale(factors);
    Products::narrow(machine_, s[0], p);
    int i = 1;
    for (; !cursor_.done(); ++i) {
      start_scores(s, i);
      start_values(rows, p, i - 1);
      machine_.template wait_products<1>(s[0]);
      release(k_empty(stage(i)));
      weigh(rows, s, factors);
      machine_.template wait_products<0>(rows.o()[0]);
      release(v_empty(stage(i - 1)));
      rows.rescale(factors);
      Products::narrow(machine_, s[0], p);
    }
    start_values(rows, p, i - 1);
    machine_.template wait_products<0>(rows.o()[0]);
  }

  /// Mask, general rule and softmax of the scores of the cursor's tile, which is behind us then.
  ANNULUS_DEVICE void weigh(Rows& rows, Scores& s, typename Rows::Factors& factors) {
    rows.finish_scores(s, cursor_.tile() * keys, cursor_.masked());
    rows.softmax(s, factors);
    cursor_.next(machine_, args_.forward.plan);
  }

  /// s = Q K^T of tile i, under way.
  ANNULUS_DEVICE void start_scores(Scores& s, int i) {
    const auto first_row = static_cast<std::uint32_t>(machine_.warp() / 4 * 64 * slab_row_bytes);
    machine_.barrier_wait(k_full(stage(i)), parity(i));
    Products::template dot<Config::rows>(machine_, s[0], first_row, k_tile(stage(i)));
  }

  /// O += P V of tile i, under way.
  ANNULUS_DEVICE void start_values(Rows& rows, Weights& p, int i) {
    machine_.barrier_wait(v_full(stage(i)), parity(i));
    Products::add(machine_, rows.o()[0], p, v_tile(stage(i)));
  }

  ANNULUS_DEVICE void release(std::uint32_t empty) {
    if (machine_.lane() == 0) machine_.barrier_arrive(empty);
  }

  Machine& machine_;
  const HopperForwardArgs& args_;
  ForwardPlace place_;
  TileCursor cursor_;
};

template <class T, int width, bool general>
struct HopperForwardKernel : HopperForwardConfig<T, width> {
  using Args = HopperForwardArgs;
  using Element = T;
  static constexpr int row_width = width;
  template <class Machine>
  static ANNULUS_DEVICE void run(Machine& machine, const Args& args) {
    HopperForwardBlock<Machine, T, width, general>(machine, args, ForwardPlace::of(machine, args.forward)).run();
  }
};

}  // namespace annulus::kernels::cuda
