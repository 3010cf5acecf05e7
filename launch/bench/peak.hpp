/// The peak of one core: what its widest multiply-add instructions do from registers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "launch/samples.hpp"

namespace annulus::launch {

/// What is multiplied; sums are f32.
enum class Products { f32, bf16 };

/// GFLOP/s of one burst of about 0.3 ms, by the CPU time of the calling thread; 0 where no such instructions run.
double peak_burst(Products products);

Samples measure_peak(Products products, std::int64_t samples);

}  // namespace annulus::launch
