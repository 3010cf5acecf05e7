/// Backward on Hopper: a warpgroup that only fetches (TMA), and two that multiply (wgmma), 64 rows each (BackwardRows). If all
/// gradients are wanted, rows are keys, and the products of a tile are five: dQ of its queries leaves through shared memory, from
/// where two threads of the first warpgroup add it up in global memory (TMA). Shah et al., "FlashAttention-3" (2024), section B.1.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/backward_rows.hpp"
#include "kernels/cuda/config.hpp"
#include "kernels/cuda/hopper_products.hpp"
#include "kernels/cuda/hopper_query_share.hpp"

namespace annulus::kernels::cuda {

/// The state of one thread. Consumers are the first warps: warp w keeps rows [16 w, 16 w + 16) of the block.
template <class Machine, class T, int width, bool general, Gradients wanted>
class HopperBackwardBlock {
  static constexpr bool fused = wanted == Gradients::all;
  using Config = HopperBackwardConfig<T, width, fused>;
  static constexpr int columns = Config::columns;
  using Rows = BackwardRows<Machine, T, width, Config::rows, columns, general, wanted>;
  using Products = HopperProducts<Machine, T, width, columns>;
  using Scores = typename Rows::Scores;
  static constexpr bool rows_are_keys = Rows::rows_are_keys;

 public:
  ANNULUS_DEVICE HopperBackwardBlock(Machine& machine, const HopperBackwardArgs& args, Meetings<rows_are_keys> meetings)
      : machine_(machine), args_(args), meetings_(meetings) {}

  ANNULUS_DEVICE void run() {
    if (machine_.thread() == 0) init_barriers();
    machine_.sync();
    if (machine_.warp() < Config::consumers * 4) {
      machine_.template more_registers<Config::consumer_registers>();
      consume();
    } else {
      machine_.template fewer_registers<Config::producer_registers>();
      if (machine_.thread() == Config::consumers * 128) produce();
      if constexpr (fused) {
        const int consumer = machine_.warp() - Config::consumers * 4 - 1;
        if (0 <= consumer && consumer < Config::consumers && machine_.lane() == 0) add_up(consumer);
      }
    }
  }

 private:
  // Shared memory: x, u, the stages of y, of w, if fused those of dS and the consumers' shares of dQ, then the stages of lse
  // (beside y), of delta (beside w), barriers.
  static ANNULUS_DEVICE std::uint32_t u_tile() { return Config::row_tile_bytes; }
  static ANNULUS_DEVICE std::uint32_t y_tile(int stage) { return 2 * Config::row_tile_bytes + stage * Config::tile_bytes; }
  static ANNULUS_DEVICE std::uint32_t w_tile(int stage) { return y_tile(Config::stages + stage); }
  static ANNULUS_DEVICE std::uint32_t ds_tile(int i) {
    return y_tile(2 * Config::stages) + static_cast<std::uint32_t>(i % Config::ds_stages * Config::ds_bytes);
  }
  static ANNULUS_DEVICE std::uint32_t dq_share(int consumer) {
    return y_tile(2 * Config::stages) +
           static_cast<std::uint32_t>(Config::ds_stages * Config::ds_bytes + consumer * Config::dq_bytes);
  }
  static ANNULUS_DEVICE std::uint32_t lse_at(int stage) {
    return y_tile(2 * Config::stages) + static_cast<std::uint32_t>(Config::fused_bytes + stage * Config::stats_bytes);
  }
  static ANNULUS_DEVICE std::uint32_t delta_at(int stage) { return lse_at(Config::stages + stage); }
  static ANNULUS_DEVICE std::uint32_t barrier(int index) {
    return lse_at(2 * Config::stages) + static_cast<std::uint32_t>(index * Config::barrier_bytes);
  }
  static ANNULUS_DEVICE std::uint32_t rows_full() { return barrier(0); }
  static ANNULUS_DEVICE std::uint32_t full(int stage) { return barrier(1 + 2 * stage); }
  static ANNULUS_DEVICE std::uint32_t empty(int stage) { return barrier(2 + 2 * stage); }
  static ANNULUS_DEVICE std::uint32_t dq_full(int consumer) { return barrier(1 + 2 * Config::stages + 2 * consumer); }
  static ANNULUS_DEVICE std::uint32_t dq_empty(int consumer) { return barrier(2 + 2 * Config::stages + 2 * consumer); }

  /// Meeting `i`: its stage, and the parity of the turn in which that is filled.
  static ANNULUS_DEVICE int stage(int i) { return i % Config::stages; }
  static ANNULUS_DEVICE std::uint32_t parity(int i) { return static_cast<std::uint32_t>(i / Config::stages & 1); }

  ANNULUS_DEVICE void init_barriers() {
    machine_.barrier_init(rows_full(), 1);
    for (int i = 0; i < Config::stages; ++i) {
      machine_.barrier_init(full(i), 1);
      machine_.barrier_init(empty(i), Config::consumers * 4);  // a lane of each warp says that it has read
    }
    for (int i = 0; fused && i < Config::consumers; ++i) {
      machine_.barrier_init(dq_full(i), 4);
      machine_.barrier_init(dq_empty(i), 1);
    }
    machine_.barrier_fence();
  }

  /// One thread. An empty barrier's turn before the first counts as over, so the first fills wait for nobody.
  ANNULUS_DEVICE void produce() {
    if (meetings_.done()) return;
    fetch_rows();
    for (int i = 0; !meetings_.done(); meetings_.next(machine_, args_.backward.plan), ++i) {
      machine_.barrier_wait(empty(stage(i)), parity(i) ^ 1U);
      fetch_columns(stage(i));
    }
  }

  /// One thread per consumer: adds each of its shares of dQ to what global memory has of it.
  ANNULUS_DEVICE void add_up(int consumer) {
    for (std::uint32_t i = 0; !meetings_.done(); meetings_.next(machine_, args_.backward.plan), ++i) {
      const std::int64_t first_row =
          static_cast<std::int64_t>(meetings_.query_pair()) * args_.backward.extents.padded_rows + meetings_.now().tile * columns;
      machine_.barrier_wait(dq_full(consumer), i & 1U);
      machine_.reduce_add(args_.backward.dq + first_row * width + consumer * QueryShares<width>::size, dq_share(consumer),
                          Config::dq_bytes);
      machine_.commit_reductions();
      machine_.template wait_reductions_read<0>();
      machine_.barrier_arrive(dq_empty(consumer));
    }
  }

  ANNULUS_DEVICE void fetch_rows() {
    const int first = meetings_.row_tile() * Config::rows;
    machine_.barrier_expect(rows_full(), (Rows::has_first ? 2 : 1) * Config::row_tile_bytes);
    const TensorMap& x = rows_are_keys ? args_.block : args_.q;
    const TensorMap& u = rows_are_keys ? args_.block : args_.dout;
    load_slabs<width, Config::rows>(machine_, 0, x, first, plane_of_rows(0), rows_full());
    if constexpr (Rows::has_first) {
      load_slabs<width, Config::rows>(machine_, u_tile(), u, first, plane_of_rows(1), rows_full());
    }
  }

  ANNULUS_DEVICE void fetch_columns(int stage) {
    const int first = meetings_.now().tile * columns;
    constexpr int stats = !rows_are_keys ? 0 : Rows::has_first ? 2 : 1;
    machine_.barrier_expect(full(stage), 2 * Config::tile_bytes + stats * Config::stats_bytes);
    const TensorMap& y = rows_are_keys ? args_.q : args_.block;
    const TensorMap& w = rows_are_keys ? args_.dout : args_.block;
    load_slabs<width, columns>(machine_, y_tile(stage), y, first, plane_of_columns(0), full(stage));
    load_slabs<width, columns>(machine_, w_tile(stage), w, first, plane_of_columns(1), full(stage));
    if constexpr (stats > 0) fetch_stats(lse_at(stage), args_.backward.lse, stage);
    if constexpr (stats > 1) fetch_stats(delta_at(stage), args_.backward.delta, stage);
  }

  ANNULUS_DEVICE void fetch_stats(std::uint32_t to, const float* stats, int stage) {
    const std::int64_t row = static_cast<std::int64_t>(meetings_.query_pair()) * args_.backward.extents.padded_rows;
    machine_.load_bytes(to, stats + row + meetings_.now().tile * columns, Config::stats_bytes, full(stage));
  }

  /// Of K (which = 0) and V (1) in the block, or of q and dout, which have maps of their own.
  ANNULUS_DEVICE int plane_of_rows(int which) const {
    return rows_are_keys ? 2 * meetings_.key_pair() + which : meetings_.query_pair();
  }
  ANNULUS_DEVICE int plane_of_columns(int which) const {
    return rows_are_keys ? meetings_.query_pair() : 2 * meetings_.key_pair() + which;
  }

  ANNULUS_DEVICE void consume() {
    Rows rows(machine_, args_.backward, meetings_.pair(), meetings_.row_tile());
    rows.load_carry();
    if (!meetings_.done()) {
      rows.load_stats();
      machine_.barrier_wait(rows_full(), 0);
    }
    for (int i = 0; !meetings_.done(); meetings_.next(machine_, args_.backward.plan), ++i) {
      machine_.barrier_wait(full(stage(i)), parity(i));
      meet(rows, i);
    }
    rows.store();
  }

  ANNULUS_DEVICE void meet(Rows& rows, int i) {
    const int stage = this->stage(i);
    Scores s;
    Scores ds;
    const auto first_row = static_cast<std::uint32_t>(machine_.warp() / 4 * 64 * slab_row_bytes);
    Products::template dot<Config::rows>(machine_, s[0], first_row, y_tile(stage));
    if constexpr (Rows::has_first) {
      Products::template dot<Config::rows>(machine_, ds[0], u_tile() + first_row, w_tile(stage));
    } else {
      clear<1, columns>(ds);
    }
    machine_.template wait_products<0>(s[0]);
    machine_.template wait_products<0>(ds[0]);
    rows.differentiate(meetings_.now(), lse_at(stage), delta_at(stage), s[0], ds[0]);
    typename Products::Narrow p;
    typename Products::Narrow narrow_ds;
    if constexpr (Rows::has_second) {
      Products::narrow(machine_, s[0], p);
      Products::add(machine_, rows.second()[0], p, w_tile(stage));
    }
    if constexpr (Rows::has_first) Products::narrow(machine_, ds[0], narrow_ds);
    if constexpr (fused) {
      add_all(rows, narrow_ds, i);
    } else {
      if constexpr (Rows::has_first) Products::add(machine_, rows.first()[0], narrow_ds, y_tile(stage));
      if constexpr (Rows::has_second) machine_.template wait_products<0>(rows.second()[0]);
      if constexpr (Rows::has_first) machine_.template wait_products<0>(rows.first()[0]);
      release(empty(stage));
    }
  }

  /// dQ, then dK, beside which dQ leaves. Who is beyond the sync knows that all have read dS of the tile before: the tile after
  /// may take its place.
  ANNULUS_DEVICE void add_all(Rows& rows, typename Products::Narrow& ds, int i) {
    constexpr int consumers_meet = 1;
    const int consumer = machine_.warp() / 4;
    QueryShare<Machine, T, width> share(machine_);
    share.show(ds, ds_tile(i));
    machine_.sync_part(consumers_meet, Config::consumers * 128);
    share.multiply(ds_tile(i), 0);
    Products::add(machine_, rows.first()[0], ds, y_tile(stage(i)));
    machine_.template wait_products<1>(rows.second()[0]);
    machine_.template wait_products<1>(share.sum()[0]);
    machine_.barrier_wait(dq_empty(consumer), static_cast<std::uint32_t>(i & 1) ^ 1U);
    share.hand_over(dq_share(consumer), dq_full(consumer));
    machine_.template wait_products<0>(rows.first()[0]);
    release(empty(stage(i)));
  }

  ANNULUS_DEVICE void release(std::uint32_t empty) {
    if (machine_.lane() == 0) machine_.barrier_arrive(empty);
  }

  Machine& machine_;
  const HopperBackwardArgs& args_;
  Meetings<rows_are_keys> meetings_;
};

template <class T, int width, bool general, Gradients wanted>
struct HopperBackwardKernel : HopperBackwardConfig<T, width, wanted == Gradients::all> {
  using Args = HopperBackwardArgs;
  using Element = T;
  static constexpr int row_width = width;
  static constexpr bool rows_are_keys = wanted != Gradients::dq;
  // At width 64 ptxas 13.0 spills 8 words with the slopes of general scores beside all else.
  static constexpr bool can_fuse = width == 128 || (width == 64 && !general);
  template <class Machine>
  static ANNULUS_DEVICE void run(Machine& machine, const Args& args) {
    const Meetings<rows_are_keys> meetings(machine, args.backward);
    HopperBackwardBlock<Machine, T, width, general, wanted>(machine, args, meetings).run();
  }
};

}  // namespace annulus::kernels::cuda
