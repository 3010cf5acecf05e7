/// Tile sizes. Shared memory stays below the 99 KiB that a block may have on every processor from sm_80 on, or the 227 KiB
/// of Hopper.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/base/dtype.hpp"

namespace annulus::kernels::cuda {

/// head_dim is padded with zeros to one of these.
inline constexpr int widths[] = {64, 128, 256};

/// Rows that queries are padded to: every row tile of every kernel divides it.
inline constexpr int row_padding = 128;

/// A block of forward: `warps` warps of 16 * row_tiles query rows each meet `keys` keys at a time.
template <class T, int width>
struct ForwardConfig {
  static constexpr bool wide = sizeof(T) == 4;
  static constexpr int warps = 4;
  // Two row tiles halve the shared memory traffic per product; at width 256 their O would not fit the registers.
  static constexpr int row_tiles = !wide && width <= 128 ? 2 : 1;
  // At width 128 ptxas 13.0 spills with 64 keys (S and O take 192 registers) and with 48.
  static constexpr int keys = !wide ? (width == 128 ? 32 : 64) : width <= 128 ? 32 : 16;
  static constexpr int rows = warps * 16 * row_tiles;
  static constexpr int threads = warps * 32;
  static constexpr int blocks_per_processor = width <= 128 ? 2 : 1;
  static constexpr int polynomial_every = 0;  ///< no exp2 by polynomial
  static constexpr int shared_bytes = (rows + 2 * keys) * width * static_cast<int>(sizeof(T));
};

/// A block of forward on Hopper: `consumers` warpgroups of 64 query rows, and one that fetches tiles of `keys` keys.
template <class T, int width>
struct HopperForwardConfig {
  static constexpr int consumers = 2;
  static constexpr int row_tiles = 1;  ///< of 16 rows, in each warp
  static constexpr int keys = width == 256 ? 64 : 128;  // O takes half of the registers at width 256
  static constexpr int stages = 2;
  static constexpr int rows = consumers * 64;
  static constexpr int threads = (consumers + 1) * 128;
  static constexpr int blocks_per_processor = 1;
  // The launch gives every thread 168 of 65536 registers; the warpgroups then trade them.
  static constexpr int consumer_registers = 240;
  static constexpr int producer_registers = 24;
  /// Of so many neighbouring pairs of P, the last one is 2^x by polynomial; 0: none. At width 64 the special function unit
  /// takes as long for P as wgmma for both products; wider rows leave it time enough. By counts of instructions a warp
  /// computes P in 448 clocks with an eighth, in 512 with none and some 470 with a quarter (docs/gpu.md); not measured.
  static constexpr int polynomial_every = width == 64 ? 8 : 0;
  static constexpr int polynomial_degree = std::is_same_v<T, bf16> ? 3 : 4;
  static constexpr int q_bytes = rows * width * static_cast<int>(sizeof(T));
  static constexpr int tile_bytes = keys * width * static_cast<int>(sizeof(T));
  static constexpr int barrier_bytes = 8;
  static constexpr int shared_bytes = q_bytes + 2 * stages * tile_bytes + (2 + 4 * stages) * barrier_bytes;
};

/// A block of backward: 16 rows per warp, of the side whose gradients it keeps, meet `columns` of the other side.
template <class T, int width>
struct BackwardConfig {
  static constexpr bool wide = sizeof(T) == 4;
  static constexpr int warps = wide && width == 256 ? 2 : 4;
  // At width 256 ptxas 13.0 spills a few words of dq with 32 columns.
  static constexpr int columns = !wide && width <= 128 ? 64 : width == 64 ? 32 : 16;
  static constexpr int stages = wide && width > 64 ? 1 : 2;  ///< of the tile that is needed first
  static constexpr int rows = warps * 16;
  static constexpr int threads = warps * 32;
  static constexpr int blocks_per_processor = width <= 128 ? 2 : 1;
  static constexpr int stats_bytes = columns * 4;
  static constexpr int shared_bytes =
      (2 * rows + (stages + 1) * columns) * width * static_cast<int>(sizeof(T)) + (stages + 1) * stats_bytes;
  static constexpr bool one_sum = width > 128;  ///< the sums of dK and dV fill the registers one at a time
  static constexpr bool can_fuse = false;
};

/// A block of backward on Hopper: `consumers` warpgroups of 64 rows of one side, and one that fetches `columns` of the other.
/// `fused`: rows are keys, and dQ leaves from here, too.
/// Registers of a consumer's thread, fused: dK and dV 32 (width 64) or 64 (128) each, S and dP 64 or 32 each, 192 in all while P
/// and dS are made; then those are pairs of 16 bits, 32 or 16 of each, beside 32 of dQ: 160 or 192. At width 256 dK and dV take 256.
template <class T, int width, bool fused>
struct HopperBackwardConfig {
  static constexpr int consumers = 2;
  static constexpr int columns = width == 64 ? 128 : 64;  // two sums of width 128 and two tiles of scores fill the registers
  static constexpr int stages = width == 256 ? 1 : 2;
  static constexpr int rows = consumers * 64;
  static constexpr int threads = (consumers + 1) * 128;
  static constexpr int blocks_per_processor = 1;
  static constexpr int consumer_registers = 240;
  static constexpr int producer_registers = 24;
  static constexpr int row_tile_bytes = rows * width * static_cast<int>(sizeof(T));
  static constexpr int tile_bytes = columns * width * static_cast<int>(sizeof(T));
  static constexpr int stats_bytes = columns * 4;
  static constexpr int barrier_bytes = 8;
  static constexpr int barriers = 1 + 2 * stages + (fused ? 2 * consumers : 0);
  static constexpr int ds_stages = 2;  // with one, consumers had to meet twice per tile
  static constexpr int ds_bytes = rows * columns * static_cast<int>(sizeof(T));
  static constexpr int dq_columns = 64;  ///< of the 64 rows of dQ that each consumer computes
  static constexpr int dq_bytes = 64 * dq_columns * 4;
  static constexpr int fused_bytes = fused ? ds_stages * ds_bytes + consumers * dq_bytes : 0;
  static constexpr int shared_bytes =
      2 * row_tile_bytes + 2 * stages * (tile_bytes + stats_bytes) + fused_bytes + barriers * barrier_bytes;
  static constexpr bool one_sum = width > 128;  ///< as in BackwardConfig
};

}  // namespace annulus::kernels::cuda
