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

/// A row whose tiles are `ops`, but for bf16 tensors `bf16_ops`.
template <const TileOps& ops, const TileOps& bf16_ops = ops>
struct Row {
  static const TileOps& tiles(DType dtype) { return dtype == DType::bf16 ? bf16_ops : ops; }

  static KernelTable table(std::string_view name, std::string_view unavailable) {
    return {.name = name,
            .unavailable = unavailable,
            .f64 = false,
            .bf16_products = bf16_ops.pair > 1,
            .packed_rows = [](const BlockShape& shape,
                              Direction direction) { return simd::packed_rows(shape, direction, pair_of(shape)); },
            .pack = [](const BlockShape& shape, Direction direction, const ConstTensorView& k, const ConstTensorView& v,
                       std::byte* packed,
                       Workers& workers) { simd::pack(shape, direction, pair_of(shape), k, v, packed, workers); },
            .pass_bytes = [](const Problem& problem,
                             Direction direction) { return simd::pass_bytes(problem, direction, pair_of(problem)); },
            .scratch_bytes = [](const Problem& problem,
                                Direction direction) { return simd::scratch_bytes(problem, direction, pair_of(problem)); },
            .forward = [](const Problem& problem, const ConstTensorView& q,
                          Resources resources) { return make_forward(tiles(problem.dtype), problem, q, resources); },
            .backward = [](const Problem& problem, const BackwardInputs& inputs,
                           Resources resources) { return make_backward(tiles(problem.dtype), problem, inputs, resources); },
            .gradient_rows = simd::gradient_rows,
            .key_tile = simd::backward_tile_keys,
            .unpack_gradient = [](const BlockShape& shape, const std::byte* gradient, const TensorView& dk,
                                  const TensorView& dv) {
              simd::unpack_gradient(tiles(shape.dtype), shape, gradient, dk, dv);
            }};
  }

 private:
  template <class Described>
  static std::int64_t pair_of(const Described& what) {
    return tiles(what.dtype).pair;
  }
};

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

std::string_view avx512_bf16_absence() {
  const bool all = avx512_absence().empty() && __builtin_cpu_supports("avx512bf16");
  return all ? "" : "this processor or system lacks AVX512_BF16";
}
#else
constexpr std::string_view not_x86 = "built for a processor that is not x86-64";
#endif

}  // namespace

const KernelTable& portable_table() {
  static const KernelTable table = Row<portable_tiles>::table("portable", "");
  return table;
}

#if defined(__x86_64__)
const KernelTable& avx2_table() {
  static const KernelTable table = Row<avx2_tiles>::table("avx2", avx2_absence());
  return table;
}

const KernelTable& avx512_table() {
  static const KernelTable table = Row<avx512_tiles>::table("avx512", avx512_absence());
  return table;
}

const KernelTable& avx512_bf16_table() {
  static const KernelTable table =
      Row<avx512_tiles, avx512_bf16_tiles>::table("avx512-bf16", avx512_bf16_absence());
  return table;
}
#else
const KernelTable& avx2_table() {
  static const KernelTable table = Row<portable_tiles>::table("avx2", not_x86);
  return table;
}

const KernelTable& avx512_table() {
  static const KernelTable table = Row<portable_tiles>::table("avx512", not_x86);
  return table;
}

const KernelTable& avx512_bf16_table() {
  static const KernelTable table = Row<portable_tiles>::table("avx512-bf16", not_x86);
  return table;
}
#endif

}  // namespace annulus::kernels::simd
