/// Runs the burst of the best instruction set.
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
  alignas(64) float sums[12 * 16];
  return widest_tiles().multiply_add_burst(rounds, 0.5F, sums);  // converges to 1: no subnormals, no infinities
}

}  // namespace annulus::kernels::simd
