/// Runs the bursts of the best instruction sets.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/simd/peak.hpp"

#include "kernels/simd/simd_tables.hpp"
#include "kernels/simd/tile_ops.hpp"

namespace annulus::kernels::simd {
namespace {

const TileOps& widest_tiles() {
#if defined(__x86_64__)
  if (avx512_table().unavailable.empty()) return avx512_tiles;
  if (avx2_table().unavailable.empty()) return avx2_tiles;
#endif
  return portable_tiles;
}

}  // namespace

double multiply_add_burst(std::int64_t rounds) {
  alignas(64) float sums[16 * 16];
  return widest_tiles().multiply_add_burst(rounds, 0.5F, sums);  // grows by 0.25 a round: far from infinity
}

double bf16_multiply_add_burst(std::int64_t rounds) {
#if defined(__x86_64__)
  if (avx512_bf16_table().unavailable.empty()) {
    alignas(64) float sums[16 * 16];
    return avx512_bf16_tiles.multiply_add_burst(rounds, 0.5F, sums);  // grows by 0.5 a round: far from infinity
  }
#endif
  static_cast<void>(rounds);  // read by the instructions that are missing here
  return 0;
}

}  // namespace annulus::kernels::simd
