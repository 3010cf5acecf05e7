/// The rates that no kernel of this machine can pass, for `annulus bench`.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace annulus::kernels::simd {

/// Works for `rounds` times 12 vectors of f32 multiply-adds in the widest instructions that run here and returns the
/// flops done. Local, on the calling thread.
double multiply_add_burst(std::int64_t rounds);

/// The same with multiply-adds of bf16 pairs; 0 where no such instructions run.
double bf16_multiply_add_burst(std::int64_t rounds);

}  // namespace annulus::kernels::simd
