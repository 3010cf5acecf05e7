/// Bursts by the clock of the thread.
// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/peak.hpp"

#include "kernels/simd/peak.hpp"

namespace annulus::launch {

double peak_burst(Products products) {
  constexpr std::int64_t rounds = 100'000;  // as short as the passes between the bursts
  const double started = thread_cpu_seconds();
  const double flops = products == Products::bf16 ? kernels::simd::bf16_multiply_add_burst(rounds)
                                                  : kernels::simd::multiply_add_burst(rounds);
  return flops / (thread_cpu_seconds() - started) * 1e-9;
}

Samples measure_peak(Products products, std::int64_t samples) {
  Samples peak;
  for (std::int64_t i = 0; i < samples; ++i) peak.add(peak_burst(products));
  return peak;
}

}  // namespace annulus::launch
