/// The vocabulary of the tile code in AVX-512 F/BW/DQ/VL.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace annulus::kernels::simd {
namespace {

using Vec = __m512;
constexpr int lanes = 16;
/// Register block of the micro-kernel: 24 accumulators, 2 columns, 1 broadcast.
constexpr int block_rows = 12;
constexpr int block_vectors = 2;

inline Vec load(const float* p) { return _mm512_load_ps(p); }
inline void store(float* p, Vec x) { _mm512_store_ps(p, x); }
inline Vec broadcast(float x) { return _mm512_set1_ps(x); }
inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
inline Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec fms(Vec a, Vec b, Vec c) { return _mm512_fmsub_ps(a, b, c); }
inline Vec select_less(Vec a, Vec b, Vec yes, Vec no) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
inline float reduce_max(Vec x) { return _mm512_reduce_max_ps(x); }
inline float reduce_add(Vec x) { return _mm512_reduce_add_ps(x); }

/// x - floor(x); 0 for an infinity.
inline Vec fraction(Vec x) { return _mm512_reduce_ps(x, 0x09); }
/// mantissa * 2^floor(x); 0 for x = -infinity.
inline Vec scale_by_power(Vec mantissa, Vec x) { return _mm512_scalef_ps(mantissa, x); }

inline Vec load_bf16(const std::uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
inline Vec load_f16(const std::uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

}  // namespace
}  // namespace annulus::kernels::simd
