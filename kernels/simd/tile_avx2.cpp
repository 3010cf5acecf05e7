/// The tile code compiled for AVX2, FMA and F16C.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/simd/vec_avx2.inl.hpp"
#include "kernels/simd/words_f32.inl.hpp"
// The vocabulary comes first: the body is written in it.
#include "kernels/simd/tile_ops.inl.hpp"

namespace annulus::kernels::simd {

const TileOps avx2_tiles = tiles;

}  // namespace annulus::kernels::simd
