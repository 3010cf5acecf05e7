/// The vocabulary of the tile code in AVX2, FMA and F16C.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace annulus::kernels::simd {
namespace {

using Vec = __m256;
constexpr int lanes = 8;
/// Register block of the micro-kernel: 12 accumulators, 2 columns, 1 broadcast of 16 registers.
constexpr int block_rows = 6;
constexpr int block_vectors = 2;

inline Vec load(const float* p) { return _mm256_load_ps(p); }
inline void store(float* p, Vec x) { _mm256_store_ps(p, x); }
inline Vec broadcast(float x) { return _mm256_set1_ps(x); }
inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
inline Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec fms(Vec a, Vec b, Vec c) { return _mm256_fmsub_ps(a, b, c); }
inline Vec select_less(Vec a, Vec b, Vec yes, Vec no) {
  return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
inline float reduce_max(Vec x) {
  __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  y = _mm_max_ps(y, _mm_movehl_ps(y, y));
  return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
}
inline float reduce_add(Vec x) {
  __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  y = _mm_add_ps(y, _mm_movehl_ps(y, y));
  return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
}

/// Exponents that the integer arithmetic below can express; max and min return their second operand if one is NaN.
inline Vec clamped(Vec x) { return _mm256_min_ps(broadcast(128.F), _mm256_max_ps(broadcast(-126.F), x)); }
/// x - floor(x); 0 for an infinity.
inline Vec fraction(Vec x) { return sub(clamped(x), _mm256_floor_ps(clamped(x))); }
/// mantissa * 2^floor(x); 0 for x < -126, where the result would be subnormal.
inline Vec scale_by_power(Vec mantissa, Vec x) {
  const __m256i power = _mm256_cvtps_epi32(_mm256_floor_ps(clamped(x)));
  const __m256i scaled = _mm256_add_epi32(_mm256_castps_si256(mantissa), _mm256_slli_epi32(power, 23));
  return _mm256_and_ps(_mm256_castsi256_ps(scaled), _mm256_cmp_ps(x, broadcast(-126.F), _CMP_NLT_UQ));
}

inline Vec load_bf16(const std::uint16_t* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
inline Vec load_f16(const std::uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

}  // namespace
}  // namespace annulus::kernels::simd
