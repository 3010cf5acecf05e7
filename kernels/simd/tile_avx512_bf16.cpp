/// The burst of multiply-adds of bf16 pairs, compiled for AVX512_BF16.
// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include <cstdint>

#include "kernels/simd/tile_ops.hpp"

namespace annulus::kernels::simd {
namespace {

/// As the f32 burst of tile_ops.inl.hpp. The sums alone are f32, and each takes two products: 4 flops per lane.
double multiply_add_burst(std::int64_t rounds, float x, float* target) {
  constexpr int lanes = 16;
  constexpr int chains = 16;  // latency times ports is 12 on Zen 4 (6 cycles, 2 a cycle)
  const __m512bh factor = _mm512_cvtne2ps_pbh(_mm512_set1_ps(x), _mm512_set1_ps(x));
  __m512 sum[chains];
#pragma GCC unroll 16
  for (int i = 0; i < chains; ++i) sum[i] = _mm512_set1_ps(static_cast<float>(i));
  for (std::int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (int i = 0; i < chains; ++i) sum[i] = _mm512_dpbf16_ps(sum[i], factor, factor);
  }
#pragma GCC unroll 16
  for (int i = 0; i < chains; ++i) _mm512_store_ps(target + i * lanes, sum[i]);
  return 4.0 * chains * lanes * static_cast<double>(rounds);
}

}  // namespace

const PairOps avx512bf16_tiles{multiply_add_burst};

}  // namespace annulus::kernels::simd
