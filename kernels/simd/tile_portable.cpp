/// The tile code compiled for any machine.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/simd/vec_portable.inl.hpp"
#include "kernels/simd/words_f32.inl.hpp"
// The vocabulary comes first: the body is written in it.
#include "kernels/simd/tile_ops.inl.hpp"

namespace annulus::kernels::simd {

const TileOps portable_tiles = tiles;

}  // namespace annulus::kernels::simd
