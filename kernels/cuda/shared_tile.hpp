/// Tiles in shared memory: rows of `width` elements whose 16-byte chunks are swizzled, so that ldmatrix and column
/// walks meet no bank conflicts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/machine.hpp"

namespace annulus::kernels::cuda {

template <class T, int width>
struct SharedTile {
  static constexpr int elements_per_chunk = 16 / static_cast<int>(sizeof(T));
  static constexpr int chunks = width / elements_per_chunk;  ///< of a row; at least 8
  static constexpr int row_bytes = width * static_cast<int>(sizeof(T));

  std::uint32_t base;  ///< byte offset, a multiple of row_bytes

  /// Where a chunk of a row stands from `base`: eight rows in sequence have the chunks of a column in eight places.
  static ANNULUS_DEVICE std::uint32_t offset(int row, int chunk) {
    return static_cast<std::uint32_t>(row * row_bytes + ((chunk ^ (row & 7)) << 4));
  }
  /// `rows` (a multiple of 8) further down and `chunks` (no bit of which the chunk at `offset` has) to the right. With
  /// constants for both this is one xor: an address per place would take all registers.
  ANNULUS_DEVICE std::uint32_t moved(std::uint32_t offset, int rows, int right) const {
    return base + static_cast<std::uint32_t>(rows * row_bytes) + (offset ^ static_cast<std::uint32_t>(right << 4));
  }
};

/// Starts to copy rows [first, first + rows) of a matrix [limit][width]; rows from `limit` on become zeros. By the
/// whole block of `threads` threads, to be committed by the caller.
template <int rows, int threads, class Machine, class T, int width>
ANNULUS_DEVICE void fetch_tile(Machine& machine, SharedTile<T, width> tile, const T* matrix, int first, int limit) {
  constexpr int chunks = SharedTile<T, width>::chunks;
  static_assert(rows * chunks % threads == 0);
  const int thread = machine.thread();
  ANNULUS_UNROLL
  for (int i = 0; i < rows * chunks / threads; ++i) {
    const int chunk = (thread + i * threads) % chunks;
    const int row = (thread + i * threads) / chunks;
    const bool valid = first + row < limit;
    const std::int64_t source = static_cast<std::int64_t>(valid ? first + row : 0) * width;
    machine.copy_async(tile.base + tile.offset(row, chunk),
                       matrix + source + chunk * SharedTile<T, width>::elements_per_chunk, valid);
  }
}

}  // namespace annulus::kernels::cuda
