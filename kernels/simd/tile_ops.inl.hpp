/// The tile code of the SIMD rows, compiled once per instruction set over the vocabulary of its vec_*.inl.hpp.
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
      for (int v = 0; v < vectors; ++v) sum[i][v] = fma(x, column[v], sum[i][v]);
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

void accumulate_rescaled(const float* scores, std::int64_t keys, const float* v, std::int64_t width,
                         const float* rescale, float* rows) {
  multiply_rows<Start::rescaled_target, score_stride, 1>(scores, v, width, rows, keys, rescale);
}

void accumulate(const float* scores, std::int64_t keys, const float* v, std::int64_t width, float* rows) {
  multiply_rows<Start::target, score_stride, 1>(scores, v, width, rows, keys, nullptr);
}

void accumulate_transposed(const float* scores, std::int64_t rows, const float* x, std::int64_t width, float* columns) {
  multiply_rows<Start::target, 1, score_stride>(scores, x, width, columns, rows, nullptr);
}

/// 2^f on [0, 1], minimax with p(0) = 1: relative error 8.3e-8, with float rounding 1.5e-7.
inline __attribute__((always_inline)) Vec exp2_fraction(Vec f) {
  Vec p = broadcast(0.0018671302F);
  p = fma(p, f, broadcast(0.00901703F));
  p = fma(p, f, broadcast(0.055799913F));
  p = fma(p, f, broadcast(0.24016444F));
  p = fma(p, f, broadcast(0.6931513F));
  return fma(p, f, broadcast(1.F));
}
/// 2^x; exactly 1 for 0 and exactly 0 for -infinity.
inline __attribute__((always_inline)) Vec exp2(Vec x) { return scale_by_power(exp2_fraction(fraction(x)), x); }

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

inline __attribute__((always_inline)) float row_exp2(float* row, std::int64_t keys, float scale, float shift) {
  const Vec factor = broadcast(scale);
  const Vec offset = broadcast(shift);
  Vec even = broadcast(0.F);
  Vec odd = broadcast(0.F);
  for (std::int64_t key = 0; key < keys; key += 2 * lanes) {
    const Vec a = exp2(fms(load(row + key), factor, offset));
    const Vec b = exp2(fms(load(row + key + lanes), factor, offset));
    store(row + key, a);
    store(row + key + lanes, b);
    even = add(even, a);
    odd = add(odd, b);
  }
  return reduce_add(add(even, odd));
}

void softmax(float* scores, std::int64_t keys, float scale, float* m, float* l, float* rescale) {
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
    l[i] = l[i] * rescale[i] + row_exp2(scores + i * score_stride, keys, scale, shift[i]);
  }
}

void gradients(float* s, float* t, std::int64_t keys, float scale, const float* lse2, const float* delta) {
  const Vec factor = broadcast(scale);
  for (std::int64_t i = 0; i < group_rows; ++i, s += score_stride, t += score_stride) {
    const Vec shift = broadcast(lse2[i]);
    const Vec mean = broadcast(delta[i]);
    for (std::int64_t key = 0; key < keys; key += lanes) {
      const Vec p = exp2(fms(load(s + key), factor, shift));
      store(s + key, p);
      store(t + key, mul(p, sub(load(t + key), mean)));
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

void scale_by(float* t, const float* slope, std::int64_t keys) {
  for (std::int64_t key = 0; key < keys; key += lanes) store(t + key, mul(load(t + key), load(slope + key)));
}

void widen_bf16(const std::uint16_t* source, std::int64_t count, float* target) {
  for (std::int64_t i = 0; i < count; i += lanes) store(target + i, load_bf16(source + i));
}

void widen_f16(const std::uint16_t* source, std::int64_t count, float* target) {
  for (std::int64_t i = 0; i < count; i += lanes) store(target + i, load_f16(source + i));
}

double multiply_add_burst(std::int64_t rounds, float x, float* target) {
  constexpr int chains = 12;  // more than latency times ports (10), and they fit 16 registers with the operands
  const Vec factor = broadcast(x);
  Vec sum[chains];
#pragma GCC unroll 12
  for (int i = 0; i < chains; ++i) sum[i] = broadcast(static_cast<float>(i));
  for (std::int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) sum[i] = fma(sum[i], factor, factor);
  }
#pragma GCC unroll 12
  for (int i = 0; i < chains; ++i) store(target + i * lanes, sum[i]);
  return 2.0 * chains * lanes * static_cast<double>(rounds);
}

constexpr TileOps tiles{scores,         softmax,  accumulate_rescaled, accumulate, accumulate_transposed, gradients,
                        natural_scores, scale_by, widen_bf16,          widen_f16,  multiply_add_burst};

}  // namespace
}  // namespace annulus::kernels::simd
