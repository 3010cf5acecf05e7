/// What a word of a tile is where products are of f32: the element itself.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace annulus::kernels::simd {
namespace {

constexpr int pair = 1;
constexpr int exp2_degree = 5;    ///< of probabilities: 1.5e-7 with float rounding
constexpr int burst_chains = 12;  ///< more than latency times ports (10); they fit 16 registers with the operands

inline Vec multiply_add(Vec a, Vec b, Vec sum) { return fma(a, b, sum); }
/// Two neighbouring vectors of a row, from column `key` on.
inline void store_along_keys(float* row, std::int64_t key, Vec a, Vec b) {
  store(row + key, a);
  store(row + key + lanes, b);
}
/// The same; words are as exact as what they are made of, so their sum is the caller's own.
inline Vec store_and_sum(float* row, std::int64_t key, Vec a, Vec b, Vec sum) {
  store_along_keys(row, key, a, b);
  return sum;
}
/// One vector of two rows.
inline void store_along_rows(float* first, float* second, std::int64_t key, Vec a, Vec b) {
  store(first + key, a);
  store(second + key, b);
}
/// ds along the keys is what store_along_rows has left.
inline void store_copy_along_keys(float*, std::int64_t, Vec, Vec) {}

}  // namespace
}  // namespace annulus::kernels::simd
