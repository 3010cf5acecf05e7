/// The two products of attention on one warp's rows. Sums live in registers in the layout of an mma accumulator, for
/// every element type: of a 16 x 8 tile, lane 4g + t holds (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/base/dtype.hpp"
#include "kernels/cuda/shared_tile.hpp"

namespace annulus::kernels::cuda {

/// [row tiles of 16][columns / 8][4]
template <int row_tiles, int columns>
using Sums = float[row_tiles][columns / 8][4];

template <int row_tiles, int columns>
ANNULUS_DEVICE void clear(Sums<row_tiles, columns>& sums) {
  ANNULUS_UNROLL
  for (int i = 0; i < row_tiles; ++i) {
    ANNULUS_UNROLL
    for (int j = 0; j < columns / 8; ++j) {
      ANNULUS_UNROLL
      for (int e = 0; e < 4; ++e) sums[i][j][e] = 0;
    }
  }
}

/// 16-bit elements: ldmatrix and mma.
template <class T>
struct Products {
  /// s += x y^T: rows [first, first + 16 row_tiles) of x against all `columns` rows of y.
  template <int row_tiles, int columns, class Machine, int width>
  static ANNULUS_DEVICE void dot_rows(Machine& machine, SharedTile<T, width> x, int first, SharedTile<T, width> y,
                                      Sums<row_tiles, columns>& s) {
    const int lane = machine.lane();
    const std::uint32_t of_x = x.offset(first + (lane & 15), lane >> 4);
    const std::uint32_t of_y = y.offset((lane & 7) + (lane >> 4) * 8, (lane >> 3) & 1);
    ANNULUS_UNROLL
    for (int k = 0; k < width / 16; ++k) {
      std::uint32_t a[row_tiles][4];
      ANNULUS_UNROLL
      for (int i = 0; i < row_tiles; ++i) {
        machine.load_matrices(x.moved(of_x, i * 16, 2 * k), a[i]);
      }
      ANNULUS_UNROLL
      for (int j = 0; j < columns / 16; ++j) {
        std::uint32_t b[4];
        machine.load_matrices(y.moved(of_y, j * 16, 2 * k), b);
        ANNULUS_UNROLL
        for (int i = 0; i < row_tiles; ++i) {
          machine.template multiply<T>(s[i][2 * j], a[i], b[0], b[1]);
          machine.template multiply<T>(s[i][2 * j + 1], a[i], b[2], b[3]);
        }
      }
    }
  }

  /// sum += p w: p as it stands in registers, rounded to T; w has `columns` rows.
  template <int row_tiles, int columns, class Machine, int width>
  static ANNULUS_DEVICE void add_rows(Machine& machine, const Sums<row_tiles, columns>& p, SharedTile<T, width> w,
                                      Sums<row_tiles, width>& sum) {
    const std::uint32_t of_w = w.offset(machine.lane() & 15, machine.lane() >> 4);
    ANNULUS_UNROLL
    for (int k = 0; k < columns / 16; ++k) {
      std::uint32_t a[row_tiles][4];
      ANNULUS_UNROLL
      for (int i = 0; i < row_tiles; ++i) {
        ANNULUS_UNROLL
        for (int r = 0; r < 4; ++r) {
          const float* const tile = p[i][2 * k + r / 2];
          a[i][r] = machine.template pair<T>(tile[r % 2 * 2], tile[r % 2 * 2 + 1]);
        }
      }
      ANNULUS_UNROLL
      for (int j = 0; j < width / 16; ++j) {
        std::uint32_t b[4];
        machine.load_matrices_transposed(w.moved(of_w, k * 16, 2 * j), b);
        ANNULUS_UNROLL
        for (int i = 0; i < row_tiles; ++i) {
          machine.template multiply<T>(sum[i][2 * j], a[i], b[0], b[1]);
          machine.template multiply<T>(sum[i][2 * j + 1], a[i], b[2], b[3]);
        }
      }
    }
  }
};

/// f32 elements: plain fused multiply-adds, every one rounded as f32 (no tf32); correct rather than fast.
template <>
struct Products<float> {
  template <int row_tiles, int columns, class Machine, int width>
  static ANNULUS_DEVICE void dot_rows(Machine& machine, SharedTile<float, width> x, int first,
                                      SharedTile<float, width> y, Sums<row_tiles, columns>& s) {
    const int g = machine.lane() >> 2;
    const int t = machine.lane() & 3;
#if defined(__CUDACC__)
#pragma unroll 2
#endif
    for (int chunk = 0; chunk < width / 4; ++chunk) {
      ANNULUS_UNROLL
      for (int i = 0; i < row_tiles; ++i) {
        const auto a = machine.template load_shared<Float4>(x.base + x.offset(first + i * 16 + g, chunk));
        const auto a8 = machine.template load_shared<Float4>(x.base + x.offset(first + i * 16 + g + 8, chunk));
        ANNULUS_UNROLL
        for (int j = 0; j < columns / 8; ++j) {
          ANNULUS_UNROLL
          for (int e = 0; e < 2; ++e) {
            const auto b = machine.template load_shared<Float4>(y.base + y.offset(j * 8 + 2 * t + e, chunk));
            s[i][j][e] = dot(machine, a, b, s[i][j][e]);
            s[i][j][2 + e] = dot(machine, a8, b, s[i][j][2 + e]);
          }
        }
      }
    }
  }

  /// Lane 4g + t sums its own columns; the elements of p of a row stand in the four lanes of its g.
  template <int row_tiles, int columns, class Machine, int width>
  static ANNULUS_DEVICE void add_rows(Machine& machine, const Sums<row_tiles, columns>& p, SharedTile<float, width> w,
                                      Sums<row_tiles, width>& sum) {
    const int quad = machine.lane() & ~3;
    const auto t = static_cast<std::uint32_t>(machine.lane() & 3);  // columns 2t and 2t + 1 of each 8
    ANNULUS_UNROLL
    for (int k = 0; k < columns; ++k) {
      // offset(k, 2j + t / 2), taken apart so that only its low bits are not constant
      const std::uint32_t of_w =
          w.base + static_cast<std::uint32_t>(k * w.row_bytes) + ((t >> 1 ^ (k & 1)) << 4) + (t & 1) * 8;
      ANNULUS_UNROLL
      for (int i = 0; i < row_tiles; ++i) {
        const float upper = machine.shuffle(p[i][k / 8][k % 2], quad + k % 8 / 2);
        const float lower = machine.shuffle(p[i][k / 8][2 + k % 2], quad + k % 8 / 2);
        ANNULUS_UNROLL
        for (int j = 0; j < width / 8; ++j) {
          const auto b =
              machine.template load_shared<Float2>(of_w + static_cast<std::uint32_t>((2 * j ^ (k & 6)) << 4));
          float(&c)[4] = sum[i][j];
          c[0] = machine.fma(upper, b.x, c[0]);
          c[1] = machine.fma(upper, b.y, c[1]);
          c[2] = machine.fma(lower, b.x, c[2]);
          c[3] = machine.fma(lower, b.y, c[3]);
        }
      }
    }
  }

 private:
  template <class Machine>
  static ANNULUS_DEVICE float dot(Machine& machine, const Float4& a, const Float4& b, float c) {
    return machine.fma(a.w, b.w, machine.fma(a.z, b.z, machine.fma(a.y, b.y, machine.fma(a.x, b.x, c))));
  }
};

}  // namespace annulus::kernels::cuda
