/// The CPU SIMD rows of the kernel table.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/contract/attention.hpp"

namespace annulus::kernels::simd {

/// Rows whose instructions this machine or build lacks say so in `unavailable`. f32, bf16 and f16; head_dim 1..256.
const KernelTable& portable_table();
const KernelTable& avx2_table();
const KernelTable& avx512_table();
/// avx512 for f32 and f16; bf16 tensors in products of bf16 pairs: p, ds, q and dout are rounded to bf16 for them.
const KernelTable& avx512_bf16_table();

}  // namespace annulus::kernels::simd
