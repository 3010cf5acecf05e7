/// The vocabulary of the tile code in vectors of 16 bytes, which every compiler maps to SSE2, NEON or plain code.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace annulus::kernels::simd {
namespace {

using Vec = float __attribute__((vector_size(16)));
using VecInt = std::int32_t __attribute__((vector_size(16)));
using VecBits = std::uint32_t __attribute__((vector_size(16)));
using VecInMemory __attribute__((may_alias)) = Vec;  ///< floats may be read through it
constexpr int lanes = 4;
/// Register block of the micro-kernel: 32 registers on Arm, 16 elsewhere.
#if defined(__aarch64__)
constexpr int block_rows = 6;
constexpr int block_vectors = 4;
#else
constexpr int block_rows = 6;
constexpr int block_vectors = 2;
#endif

inline Vec load(const float* p) { return *reinterpret_cast<const VecInMemory*>(p); }
inline void store(float* p, Vec x) { *reinterpret_cast<VecInMemory*>(p) = x; }
inline Vec broadcast(float x) { return Vec{x, x, x, x}; }
inline Vec add(Vec a, Vec b) { return a + b; }
inline Vec sub(Vec a, Vec b) { return a - b; }
inline Vec mul(Vec a, Vec b) { return a * b; }
inline Vec div(Vec a, Vec b) { return a / b; }
inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
inline Vec fms(Vec a, Vec b, Vec c) { return a * b - c; }
inline Vec blend(VecInt mask, Vec yes, Vec no) { return (Vec)((mask & (VecInt)yes) | (~mask & (VecInt)no)); }
inline Vec select_less(Vec a, Vec b, Vec yes, Vec no) { return blend(a < b, yes, no); }
/// The second operand if one is NaN.
inline Vec max(Vec a, Vec b) { return blend(a > b, a, b); }
inline float reduce_max(Vec x) {
  const float low = x[0] > x[1] ? x[0] : x[1];
  const float high = x[2] > x[3] ? x[2] : x[3];
  return low > high ? low : high;
}
inline float reduce_add(Vec x) { return (x[0] + x[2]) + (x[1] + x[3]); }

/// Exponents that the integer arithmetic below can express; NaN stays NaN.
inline Vec clamped(Vec x) {
  const Vec low = max(broadcast(-126.F), x);
  return blend(low > 128.F, broadcast(128.F), low);
}
inline Vec floor_clamped(Vec x) {
  const Vec c = clamped(x);
  const Vec truncated = __builtin_convertvector(__builtin_convertvector(c, VecInt), Vec);
  return blend(truncated > c, truncated - 1.F, truncated);
}
/// x - floor(x); 0 for an infinity.
inline Vec fraction(Vec x) { return clamped(x) - floor_clamped(x); }
/// mantissa * 2^floor(x); 0 for x < -126, where the result would be subnormal.
inline Vec scale_by_power(Vec mantissa, Vec x) {
  const VecInt power = __builtin_convertvector(floor_clamped(x), VecInt);
  const Vec scaled = (Vec)((VecBits)mantissa + ((VecBits)power << 23));
  return blend(x < -126.F, broadcast(0.F), scaled);
}

inline VecBits load_words(const std::uint16_t* p) { return VecBits{p[0], p[1], p[2], p[3]}; }
inline Vec load_bf16(const std::uint16_t* p) { return (Vec)(load_words(p) << 16); }
/// Moves the exponent by a product with 2^112, exact for subnormals too; infinities and NaN get their exponent back.
inline Vec load_f16(const std::uint16_t* p) {
  const VecBits words = load_words(p);
  const VecBits magnitude = (words & 0x7fffU) << 13;
  const VecBits finite = (VecBits)((Vec)magnitude * 0x1p112F);
  const VecBits special = magnitude | 0x7f800000U;
  const Vec value = blend((VecInt)((words & 0x7c00U) == 0x7c00U), (Vec)special, (Vec)finite);
  return (Vec)((VecBits)value | ((words & 0x8000U) << 16));
}

}  // namespace
}  // namespace annulus::kernels::simd
