/// The tile code of the SIMD rows, compiled once per instruction set over the vocabulary of its vec_*.inl.hpp and
/// words_*.inl.hpp.
/// Everything here has internal linkage and calls nothing outside: see TileOps.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/simd/tile_ops.hpp"

namespace annulus::kernels::simd {
namespace {

constexpr std::int64_t panel_vectors = panel_keys / lanes;
static_assert(group_rows % block_rows == 0 && panel_vectors % block_vectors == 0);

/// What the accumulators hold before the first product.
enum class Start { zero, target, rescaled_target };

template <Start start>
inline __attribute__((always_inline)) Vec first_value(const float* c, const float* rescale) {
  if constexpr (start == Start::zero) return broadcast(0.F);
  if constexpr (start == Start::target) return load(c);
  return mul(load(c), broadcast(*rescale));
}

/// c[rows][vectors * lanes] = start + sum_k a_k b_k^T, the accumulators in registers: the one loop where the time goes.
/// Element (row, k) of a stands at a[row * a_row + k * a_step]; rows of b are b_step apart, those of c c_row.
template <int rows, int vectors, Start start>
inline __attribute__((always_inline)) void multiply(const float* a, std::int64_t a_row, std::int64_t a_step,
                                                    const float* b, std::int64_t b_step, float* c, std::int64_t c_row,
                                                    std::int64_t depth, const float* rescale) {
  Vec sum[rows][vectors];
#pragma GCC unroll 12
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) sum[i][v] = first_value<start>(c + i * c_row + v * lanes, rescale + i);
  }
  for (std::int64_t k = 0; k < depth; ++k) {
    Vec column[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) column[v] = load(b + v * lanes);
#pragma GCC unroll 12
    for (int i = 0; i < rows; ++i) {
      const Vec x = broadcast(a[i * a_row]);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sum[i][v] = multiply_add(x, column[v], sum[i][v]);
    }
    a += a_step;
    b += b_step;
  }
#pragma GCC unroll 12
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) store(c + i * c_row + v * lanes, sum[i][v]);
  }
}

/// One group of rows against all columns of b: the widest register block first, one step of 16 columns at the end.
template <Start start, std::int64_t a_row, std::int64_t a_step>
inline __attribute__((always_inline)) void multiply_rows(const float* a, const float* b, std::int64_t width, float* c,
                                                         std::int64_t depth, const float* rescale) {
  constexpr std::int64_t block = block_vectors * lanes;
  constexpr int rest_vectors = width_step / lanes < block_vectors ? width_step / lanes : block_vectors;
  std::int64_t column = 0;
  for (; column + block <= width; column += block) {
    for (std::int64_t row = 0; row < group_rows; row += block_rows) {
      multiply<block_rows, block_vectors, start>(a + row * a_row, a_row, a_step, b + column, width,
                                                 c + row * width + column, width, depth, rescale + row);
    }
  }
  for (; column < width; column += rest_vectors * lanes) {
    for (std::int64_t row = 0; row < group_rows; row += block_rows) {
      multiply<block_rows, rest_vectors, start>(a + row * a_row, a_row, a_step, b + column, width,
                                                c + row * width + column, width, depth, rescale + row);
    }
  }
}

void scores(const float* q, const float* panels, std::int64_t keys, std::int64_t depth, float* scores) {
  for (std::int64_t key = 0; key < keys; key += panel_keys) {
    const float* panel = panels + key * depth;
    for (std::int64_t column = 0; column < panel_keys; column += block_vectors * lanes) {
      for (std::int64_t row = 0; row < group_rows; row += block_rows) {
        multiply<block_rows, block_vectors, Start::zero>(q + row, 1, group_rows, panel + column, panel_keys,
                                                         scores + row * score_stride + key + column, score_stride,
                                                         depth, nullptr);
      }
    }
  }
}

void accumulate_rescaled(const float* p, std::int64_t keys, const float* v, std::int64_t width, const float* rescale,
                         float* rows) {
  multiply_rows<Start::rescaled_target, score_stride, 1>(p, v, width, rows, keys / pair, rescale);
}

void accumulate(const float* ds, std::int64_t keys, const float* k, std::int64_t width, float* rows) {
  multiply_rows<Start::target, score_stride, 1>(ds, k, width, rows, keys / pair, nullptr);
}

void accumulate_transposed(const float* p, std::int64_t rows, const float* x, std::int64_t width, float* columns) {
  multiply_rows<Start::target, 1, pair * score_stride>(p, x, width, columns, rows / pair, nullptr);
}

/// 2^f on [0, 1], minimax with p(0) = 1: relative error 8.3e-8 in degree 5 (1.5e-7 with float rounding), 2.9e-6 in
/// degree 4.
template <int degree>
inline __attribute__((always_inline)) Vec exp2_fraction(Vec f) {
  static_assert(degree == 4 || degree == 5);
  Vec p = broadcast(degree == 5 ? 0.0018671302F : 0.013426684F);
  if constexpr (degree == 5) p = fma(p, f, broadcast(0.00901703F));
  p = fma(p, f, broadcast(degree == 5 ? 0.055799913F : 0.052242474F));
  p = fma(p, f, broadcast(degree == 5 ? 0.24016444F : 0.24128020F));
  p = fma(p, f, broadcast(degree == 5 ? 0.6931513F : 0.69304484F));
  return fma(p, f, broadcast(1.F));
}
/// 2^x; exactly 1 for 0 and exactly 0 for -infinity.
template <int degree = 5>
inline __attribute__((always_inline)) Vec exp2(Vec x) {
  return scale_by_power(exp2_fraction<degree>(fraction(x)), x);
}

/// A polynomial near zero (relative error 4.4e-9 before rounding), 1 - 2 / (e^2x + 1) beyond |x| = 0.625.
inline __attribute__((always_inline)) Vec tanh(Vec x) {
  const Vec zero = broadcast(0.F);
  const Vec one = broadcast(1.F);
  const Vec magnitude = max(x, sub(zero, x));
  const Vec square = mul(x, x);
  Vec p = broadcast(-0.005704976F);
  p = fma(p, square, broadcast(0.020639079F));
  p = fma(p, square, broadcast(-0.05373971F));
  p = fma(p, square, broadcast(0.13331442F));
  p = fma(p, square, broadcast(-0.3333328F));
  const Vec small = fma(mul(p, square), x, x);
  const Vec power = exp2(mul(magnitude, broadcast(2.88539008F)));  // 2 log2(e)
  const Vec large = sub(one, div(broadcast(2.F), add(power, one)));
  return select_less(magnitude, broadcast(0.625F), small, select_less(x, zero, sub(zero, large), large));
}

inline __attribute__((always_inline)) float row_max(const float* row, std::int64_t keys) {
  Vec even = load(row);
  Vec odd = load(row + lanes);
  for (std::int64_t key = 2 * lanes; key < keys; key += 2 * lanes) {
    even = max(even, load(row + key));
    odd = max(odd, load(row + key + lanes));
  }
  return reduce_max(max(even, odd));
}

/// The sum of p, and that of its words.
struct RowSums {
  float sum;
  float seen;
};
inline __attribute__((always_inline)) RowSums row_exp2(float* row, std::int64_t keys, float scale, float shift) {
  const Vec factor = broadcast(scale);
  const Vec offset = broadcast(shift);
  Vec sum = broadcast(0.F);
  Vec seen = broadcast(0.F);
  for (std::int64_t key = 0; key < keys; key += 2 * lanes) {
    const Vec a = exp2<exp2_degree>(fms(load(row + key), factor, offset));
    const Vec b = exp2<exp2_degree>(fms(load(row + key + lanes), factor, offset));
    sum = add(sum, add(a, b));
    seen = store_and_sum(row, key, a, b, seen);
  }
  return {reduce_add(sum), reduce_add(seen)};
}

void softmax(float* scores, std::int64_t keys, float scale, float* m, float* l, float* weight, float* rescale) {
  const float minus_infinity = -__builtin_inff();
  alignas(64) float shift[16] = {};
  alignas(64) float drop[16] = {};
  for (std::int64_t i = 0; i < group_rows; ++i) {
    const float block_max = row_max(scores + i * score_stride, keys) * scale;
    const float new_max = block_max > m[i] ? block_max : m[i];
    shift[i] = new_max == minus_infinity ? 0.F : new_max;  // no key seen so far: keep infinity - infinity away
    drop[i] = m[i] - shift[i];
    m[i] = new_max;
  }
  for (int i = 0; i < 16; i += lanes) store(rescale + i, exp2(load(drop + i)));
  for (std::int64_t i = 0; i < group_rows; ++i) {
    const RowSums sums = row_exp2(scores + i * score_stride, keys, scale, shift[i]);
    l[i] = l[i] * rescale[i] + sums.sum;
    if constexpr (pair > 1) weight[i] = weight[i] * rescale[i] + sums.seen;
  }
}

/// p and ds of two rows and two vectors of columns.
inline __attribute__((always_inline)) void gradient_columns(float* s, float* t, float* along_keys, std::int64_t key,
                                                            Vec factor, const float* lse2, const float* delta,
                                                            const float* slope) {
  Vec p[2][2];
  Vec ds[2][2];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const std::int64_t row = i * score_stride + key;
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      p[i][v] = exp2<exp2_degree>(fms(load(s + row + v * lanes), factor, broadcast(lse2[i])));
      ds[i][v] = mul(p[i][v], sub(load(t + row + v * lanes), broadcast(delta[i])));
      if (slope != nullptr) ds[i][v] = mul(ds[i][v], load(slope + row + v * lanes));
    }
  }
#pragma GCC unroll 2
  for (int v = 0; v < 2; ++v) {
    store_along_rows(s, s + score_stride, key + v * lanes, p[0][v], p[1][v]);
    store_along_rows(t, t + score_stride, key + v * lanes, ds[0][v], ds[1][v]);
  }
  store_copy_along_keys(along_keys, key, ds[0][0], ds[0][1]);
  store_copy_along_keys(along_keys + score_stride, key, ds[1][0], ds[1][1]);
}

void gradients(float* s, float* t, float* along_keys, std::int64_t keys, float scale, const float* lse2,
               const float* delta, const float* slope) {
  const Vec factor = broadcast(scale);
  for (std::int64_t i = 0; i < group_rows; i += 2) {
    const std::int64_t row = i * score_stride;
    for (std::int64_t key = 0; key < keys; key += 2 * lanes) {
      gradient_columns(s + row, t + row, along_keys + row, key, factor, lse2 + i, delta + i,
                       slope == nullptr ? nullptr : slope + row);
    }
  }
}

void natural_scores(float* s, std::int64_t keys, float scale, float cap, float* slope) {
  const Vec factor = broadcast(cap > 0 ? scale / cap : scale);
  for (std::int64_t key = 0; key < keys; key += lanes) {
    Vec x = mul(load(s + key), factor);
    if (cap > 0) {
      x = tanh(x);
      if (slope != nullptr) store(slope + key, sub(broadcast(1.F), mul(x, x)));
      x = mul(x, broadcast(cap));
    }
    store(s + key, x);
  }
}

void widen_bf16(const std::uint16_t* source, std::int64_t count, float* target) {
  for (std::int64_t i = 0; i < count; i += lanes) store(target + i, load_bf16(source + i));
}

void widen_f16(const std::uint16_t* source, std::int64_t count, float* target) {
  for (std::int64_t i = 0; i < count; i += lanes) store(target + i, load_f16(source + i));
}

/// The compiler makes vectors of it; from_float would do, but nothing inline may leave this file with these
/// instructions.
void narrow_bf16(const float* source, float factor, std::int64_t count, std::uint16_t* target) {
  for (std::int64_t i = 0; i < count; ++i) {
    const auto u = __builtin_bit_cast(std::uint32_t, source[i] * factor);
    const std::uint32_t rounded = u + 0x7fffU + ((u >> 16) & 1U);
    const bool is_nan = (u & 0x7fffffffU) > 0x7f800000U;
    target[i] = static_cast<std::uint16_t>((is_nan ? u | 0x400000U : rounded) >> 16);
  }
}

double multiply_add_burst(std::int64_t rounds, float x, float* target) {
  alignas(64) float both[lanes];
  for (float& value : both) value = x;
  alignas(64) float words[2 * lanes];
  store_along_keys(words, 0, load(both), load(both));
  const Vec factor = load(words);
  Vec sum[burst_chains];
#pragma GCC unroll 16
  for (int i = 0; i < burst_chains; ++i) sum[i] = broadcast(static_cast<float>(i));
  for (std::int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < burst_chains; ++i) sum[i] = multiply_add(factor, factor, sum[i]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < burst_chains; ++i) store(target + i * lanes, sum[i]);
  return 2.0 * pair * burst_chains * lanes * static_cast<double>(rounds);
}

constexpr TileOps tiles{pair,      scores,         softmax,    accumulate_rescaled, accumulate,  accumulate_transposed,
                        gradients, natural_scores, widen_bf16, widen_f16,           narrow_bf16, multiply_add_burst};

}  // namespace
}  // namespace annulus::kernels::simd
