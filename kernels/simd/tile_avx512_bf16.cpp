/// The tile code compiled for AVX-512 with AVX512_BF16: products of bf16 pairs.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/simd/vec_avx512.inl.hpp"
#include "kernels/simd/words_bf16.inl.hpp"
// The vocabulary comes first: the body is written in it.
#include "kernels/simd/tile_ops.inl.hpp"

namespace annulus::kernels::simd {

const TileOps avx512_bf16_tiles = tiles;

}  // namespace annulus::kernels::simd
