/// What a word of a tile is where products are of bf16 pairs (AVX512_BF16): two elements, f32 sums.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace annulus::kernels::simd {
namespace {

constexpr int pair = 2;
constexpr int exp2_degree = 4;    ///< of probabilities: 3e-6, which lse keeps; rounding them to bf16 costs 2e-3
constexpr int burst_chains = 16;  ///< latency times ports is 12 on Zen 4

inline Vec multiply_add(Vec a, Vec b, Vec sum) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}
/// 32 neighbours as 16 words.
inline Vec neighbours(Vec a, Vec b) { return reinterpret_cast<Vec>(_mm512_cvtne2ps_pbh(b, a)); }
/// Words (a_i, b_i).
inline Vec interleaved(Vec a, Vec b) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5,
                                         20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b, a))));
}

inline void store_along_keys(float* row, std::int64_t key, Vec a, Vec b) { store(row + key / pair, neighbours(a, b)); }
/// Stores and sums what the products will see, rounded as it is.
inline Vec store_and_sum(float* row, std::int64_t key, Vec a, Vec b, Vec sum) {
  const Vec words = neighbours(a, b);
  store(row + key / pair, words);
  return multiply_add(words, _mm512_castsi512_ps(_mm512_set1_epi32(0x3f803f80)), sum);  // times ones
}
inline void store_along_rows(float* first, float*, std::int64_t key, Vec a, Vec b) {
  store(first + key, interleaved(a, b));
}
inline void store_copy_along_keys(float* row, std::int64_t key, Vec a, Vec b) { store_along_keys(row, key, a, b); }

}  // namespace
}  // namespace annulus::kernels::simd
