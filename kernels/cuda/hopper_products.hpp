/// The two products of attention by wgmma, on the 64 rows of a warpgroup, and the boxes that they read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/args.hpp"
#include "kernels/cuda/matrix_descriptor.hpp"

namespace annulus::kernels::cuda {

/// Starts to fetch `rows` rows of a plane of `map`, slab by slab, to `to`. By one thread; `full` awaits their bytes.
template <int width, int rows, class Machine>
ANNULUS_DEVICE void load_slabs(Machine& machine, std::uint32_t to, const TensorMap& map, int first, int plane,
                               std::uint32_t full) {
  for (int slab = 0; slab < width / slab_columns; ++slab) {
    const auto at = static_cast<std::uint32_t>(slab * rows * slab_row_bytes);
    machine.load_box(to + at, map, slab * slab_columns, first, plane, full);
  }
}

/// A tile has `columns` rows of `width` elements. Every function starts a batch of products, which its caller awaits.
template <class Machine, class T, int width, int columns>
struct HopperProducts {
  /// Scores in 16 bits, as wgmma takes them from registers: for each 16 columns.
  using Narrow = std::uint32_t[columns / 16][4];

  /// s = x y^T: 64 rows of a tile of `rows` rows, from the one at `x` on, and the tile at `y`. A step of 16 along a row
  /// is 32 bytes along the rows of a slab.
  template <int rows>
  static ANNULUS_DEVICE void dot(Machine& machine, float (&s)[columns / 8][4], std::uint32_t x, std::uint32_t y) {
    constexpr int steps = slab_columns / 16;
    const std::uint64_t a = matrix_descriptor(machine.shared_address(x), 0);
    const std::uint64_t b = matrix_descriptor(machine.shared_address(y), 0);
    machine.begin_products(s);
    ANNULUS_UNROLL
    for (int step = 0; step < width / 16; ++step) {
      const int slab = step / steps * slab_row_bytes;
      machine.template multiply_shared<T, columns>(s, moved(a, slab * rows + step % steps * 32),
                                                   moved(b, slab * columns + step % steps * 32), step != 0);
    }
    machine.commit_products();
  }

  /// sum += p w, with the tile at `w`. A step of 16 columns is 16 rows down each slab.
  static ANNULUS_DEVICE void add(Machine& machine, float (&sum)[width / 8][4], Narrow& p, std::uint32_t w) {
    const std::uint64_t b = matrix_descriptor(machine.shared_address(w), columns * slab_row_bytes);
    machine.begin_products(sum, p);
    ANNULUS_UNROLL
    for (int step = 0; step < columns / 16; ++step) {
      machine.template multiply_registers<T, width>(sum, p[step], moved(b, step * 16 * slab_row_bytes));
    }
    machine.commit_products();
  }

  static ANNULUS_DEVICE void narrow(Machine& machine, const float (&s)[columns / 8][4], Narrow& p) {
    ANNULUS_UNROLL
    for (int step = 0; step < columns / 16; ++step) {
      ANNULUS_UNROLL
      for (int r = 0; r < 4; ++r) {
        const float* const tile = s[2 * step + r / 2];
        p[step][r] = machine.template pair<T>(tile[r % 2 * 2], tile[r % 2 * 2 + 1]);
      }
    }
  }
};

}  // namespace annulus::kernels::cuda
