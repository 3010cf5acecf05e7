/// dQ of fused backward on Hopper: each consumer computes its share of a tile, dQ = dS K, and hands it over to be added up in
/// global memory. What adds up has the order of accumulators, so that neither bank conflicts nor shuffles are in its way;
/// DqRowsKernel turns it into rows when the pass ends.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/base/dtype.hpp"
#include "kernels/cuda/args.hpp"
#include "kernels/cuda/config.hpp"
#include "kernels/cuda/matrix_descriptor.hpp"
#include "kernels/cuda/products.hpp"

namespace annulus::kernels::cuda {

/// A tile of queries [columns][width] is cut into shares of 64 x 64, one per consumer. Share by share it lies as
/// [8 columns][thread of the warpgroup][4], in the place of its rows.
template <int width>
struct QueryShares {
  using Config = HopperBackwardConfig<bf16, width, true>;
  static constexpr int row_shares = Config::columns / 64;
  static constexpr int tile = Config::columns * width;  ///< elements
  static constexpr int size = 64 * Config::dq_columns;
  static_assert(Config::consumers * size == tile);
  static constexpr int threads = Config::consumers * 128;

  static ANNULUS_DEVICE int first_row(int share) { return share % row_shares * 64; }
  static ANNULUS_DEVICE int first_column(int share) { return share / row_shares * Config::dq_columns; }
};

/// Of one thread of a consumer. dS stands in shared memory as [slab of 64 keys][queries], swizzled as TMA would: a consumer
/// writes the slab of its keys, and all read all of it.
template <class Machine, class T, int width>
class QueryShare {
  using Config = HopperBackwardConfig<T, width, true>;
  using Shares = QueryShares<width>;
  static constexpr int slab_bytes = Config::columns * slab_row_bytes;

 public:
  ANNULUS_DEVICE explicit QueryShare(Machine& machine) : machine_(machine) {}

  ANNULUS_DEVICE Sums<1, Config::dq_columns>& sum() { return sum_; }

  /// dS of this consumer's keys, for everybody who comes to the next sync_part(). Of 16 columns: matrices of eight keys and
  /// eight queries, which are stored with queries as rows.
  ANNULUS_DEVICE void show(const std::uint32_t (&ds)[Config::columns / 16][4], std::uint32_t tile) {
    const int lane = machine_.lane();
    const int chunk = machine_.warp() % 4 * 2 + lane / 8 % 2;
    const int row = lane / 16 * 8 + lane % 8;
    const std::uint32_t at = tile + static_cast<std::uint32_t>(consumer() * slab_bytes + row * slab_row_bytes +
                                                               ((chunk ^ (row & 7)) << 4));
    ANNULUS_UNROLL
    for (int step = 0; step < Config::columns / 16; ++step) {
      machine_.store_matrices_transposed(at + static_cast<std::uint32_t>(step * 16 * slab_row_bytes), ds[step]);
    }
    machine_.fence_async();
  }

  /// Starts sum = dS K on this consumer's rows and columns of the tile, which its caller awaits.
  ANNULUS_DEVICE void multiply(std::uint32_t ds_tile, std::uint32_t k_tile) {
    constexpr int steps = slab_columns / 16;
    const auto rows = static_cast<std::uint32_t>(Shares::first_row(consumer()) * slab_row_bytes);
    const auto slab = static_cast<std::uint32_t>(Shares::first_column(consumer()) / slab_columns * Config::rows * slab_row_bytes);
    const std::uint64_t a = matrix_descriptor(machine_.shared_address(ds_tile + rows), 0);
    const std::uint64_t b = matrix_descriptor(machine_.shared_address(k_tile + slab), Config::rows * slab_row_bytes);
    machine_.begin_products(sum_[0]);
    ANNULUS_UNROLL
    for (int step = 0; step < Config::rows / 16; ++step) {
      machine_.template multiply_transposed<T, Config::dq_columns>(sum_[0], moved(a, step / steps * slab_bytes + step % steps * 32),
                                                                   moved(b, step * 16 * slab_row_bytes), step != 0);
    }
    machine_.commit_products();
  }

  /// Writes the share to `to` for who arrives after this warp at `full`.
  ANNULUS_DEVICE void hand_over(std::uint32_t to, std::uint32_t full) {
    const std::uint32_t at = to + static_cast<std::uint32_t>(machine_.thread() % 128 * 16);
    ANNULUS_UNROLL
    for (int j = 0; j < Config::dq_columns / 8; ++j) {
      const float(&c)[4] = sum_[0][j];
      machine_.store_shared(at + static_cast<std::uint32_t>(j * 128 * 16), Float4{c[0], c[1], c[2], c[3]});
    }
    machine_.fence_async();
    machine_.sync_warp();
    if (machine_.lane() == 0) machine_.barrier_arrive(full);
  }

 private:
  ANNULUS_DEVICE int consumer() const { return machine_.warp() / 4; }

  Machine& machine_;
  Sums<1, Config::dq_columns> sum_;
};

/// dQ as fused backward has added it up becomes rows, in place: one block per tile of queries.
template <int width>
struct DqRowsKernel {
  using Args = DqRowsArgs;
  using Shares = QueryShares<width>;
  static constexpr int threads = Shares::threads;
  static constexpr int blocks_per_processor = 1;
  static constexpr int shared_bytes = 0;
  template <class Machine>
  static ANNULUS_DEVICE void run(Machine& machine, const Args& args) {
    constexpr int pieces = Shares::Config::dq_columns / 8;
    float* const tile = args.dq + machine.block() * Shares::tile;
    const int share = machine.warp() / 4;
    const auto* const from = reinterpret_cast<const Float4*>(tile + share * Shares::size) + machine.thread() % 128;
    Float4 own[pieces];
    ANNULUS_UNROLL
    for (int j = 0; j < pieces; ++j) own[j] = machine.load(from + j * 128);
    machine.sync();
    const int row = Shares::first_row(share) + machine.warp() % 4 * 16 + machine.lane() / 4;
    float* const to = tile + row * width + Shares::first_column(share) + machine.lane() % 4 * 2;
    ANNULUS_UNROLL
    for (int j = 0; j < pieces; ++j) {
      machine.store(reinterpret_cast<Float2*>(to + j * 8), Float2{own[j].x, own[j].y});
      machine.store(reinterpret_cast<Float2*>(to + 8 * width + j * 8), Float2{own[j].z, own[j].w});
    }
  }
};

}  // namespace annulus::kernels::cuda
