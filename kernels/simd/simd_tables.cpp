/// Fills the rows and asks the processor what it has.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/simd/simd_tables.hpp"

#include "kernels/simd/pack.hpp"
#include "kernels/simd/passes.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace annulus::kernels::simd {
namespace {

template <const TileOps& ops>
KernelTable row(std::string_view name, std::string_view unavailable) {
  return {.name = name,
          .unavailable = unavailable,
          .f64 = false,
          .packed_bytes = packed_bytes,
          .pack = pack,
          .pass_bytes = pass_bytes,
          .forward = [](const Problem& problem, const ConstTensorView& q,
                        Workers& workers) { return make_forward(ops, problem, q, workers); },
          .backward = [](const Problem& problem, const BackwardInputs& inputs,
                         Workers& workers) { return make_backward(ops, problem, inputs, workers); },
          .gradient_elements = gradient_elements,
          .unpack_gradient = unpack_gradient};
}

#if defined(__x86_64__)
/// __builtin_cpu_supports asks the processor and whether the system saves the registers; clang 14 lacks "f16c".
std::string_view avx2_absence() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  const bool f16c = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
  const bool all = f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return all ? "" : "this processor or system lacks AVX2, FMA or F16C";
}

std::string_view avx512_absence() {
  const bool all = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                   __builtin_cpu_supports("fma");
  return all ? "" : "this processor or system lacks AVX-512 F, BW, DQ or VL";
}
#endif

}  // namespace

const KernelTable& portable_table() {
  static const KernelTable table = row<portable_tiles>("portable", "");
  return table;
}

#if defined(__x86_64__)
const KernelTable& avx2_table() {
  static const KernelTable table = row<avx2_tiles>("avx2", avx2_absence());
  return table;
}

const KernelTable& avx512_table() {
  static const KernelTable table = row<avx512_tiles>("avx512", avx512_absence());
  return table;
}
#else
const KernelTable& avx2_table() {
  static const KernelTable table = row<portable_tiles>("avx2", "built for a processor that is not x86-64");
  return table;
}

const KernelTable& avx512_table() {
  static const KernelTable table = row<portable_tiles>("avx512", "built for a processor that is not x86-64");
  return table;
}
#endif

}  // namespace annulus::kernels::simd
