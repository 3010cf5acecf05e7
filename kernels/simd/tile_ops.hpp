/// The tile-level code that each instruction set provides to the passes; everything above it is written once.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace annulus::kernels::simd {

inline constexpr std::int64_t group_rows = 12;  ///< query rows that pass through the micro-kernels together
inline constexpr std::int64_t panel_keys = 32;  ///< keys stored side by side in a packed panel [head_dim][32]
inline constexpr std::int64_t width_step = 16;  ///< row-major tiles are [rows][round_up(head_dim, 16)]
/// Floats from one row of a score tile to the next: 256 keys, and 64 bytes more so that rows differ in cache set.
inline constexpr std::int64_t score_stride = 272;

/// One instruction set. Pointers are aligned to 64 bytes, widths are multiples of 16, `keys` of 32, and score tiles are
/// [rows][score_stride]. Plain pointers and sizes only: what is compiled with an instruction set's flags must not
/// share inline functions with files that run everywhere (the linker keeps one copy of those).
struct TileOps {
  /// scores[12][keys] = q^T k; q packed [depth][12], panels [keys / 32][depth][32].
  void (*scores)(const float* q, const float* panels, std::int64_t keys, std::int64_t depth, float* scores);
  /// Online softmax of 12 rows: m' = max(m, scale * max_j s_j) (log2 units), s := 2^(scale * s - m'),
  /// rescale = 2^(m - m'), l := l * rescale + sum_j s_j. A row of -infinity changes nothing and becomes zeros.
  void (*softmax)(float* scores, std::int64_t keys, float scale, float* m, float* l, float* rescale);
  /// rows[12][width] = rescale[12] * rows + scores[12][keys] * v[keys][width].
  void (*accumulate_rescaled)(const float* scores, std::int64_t keys, const float* v, std::int64_t width,
                              const float* rescale, float* rows);
  /// rows[12][width] += scores[12][keys] * v[keys][width].
  void (*accumulate)(const float* scores, std::int64_t keys, const float* v, std::int64_t width, float* rows);
  /// columns[12][width] += scores[rows][12]^T * x[rows][width]; `scores` is aligned to 4 bytes only.
  void (*accumulate_transposed)(const float* scores, std::int64_t rows, const float* x, std::int64_t width,
                                float* columns);
  /// Backward of 12 rows: s := p = 2^(scale * s - lse2), t := p * (t - delta). lse2 = +infinity gives zeros.
  void (*gradients)(float* s, float* t, std::int64_t keys, float scale, const float* lse2, const float* delta);
  /// One row: s := scale * s, then cap * tanh(s / cap) if cap > 0; slope (if given) receives 1 - tanh^2.
  void (*natural_scores)(float* s, std::int64_t keys, float scale, float cap, float* slope);
  /// One row: t := t * slope.
  void (*scale_by)(float* t, const float* slope, std::int64_t keys);
  /// f32 of `count` (a multiple of 32) 16-bit elements; source aligned to 2 bytes.
  void (*widen_bf16)(const std::uint16_t* source, std::int64_t count, float* target);
  void (*widen_f16)(const std::uint16_t* source, std::int64_t count, float* target);
  /// Independent fused multiply-adds from registers and nothing else: the rate that no kernel can pass. Returns flops;
  /// `x` keeps the compiler from doing the sums itself.
  double (*multiply_add_burst)(std::int64_t rounds, float x, float* target);
};

/// What AVX512_BF16 adds: f32 sums of products of bf16 pairs.
struct PairOps {
  /// As TileOps::multiply_add_burst, in multiply-adds of pairs; `target` takes 16 vectors.
  double (*multiply_add_burst)(std::int64_t rounds, float x, float* target);
};

extern const TileOps portable_tiles;
extern const TileOps avx2_tiles;        ///< x86-64 only
extern const TileOps avx512_tiles;      ///< x86-64 only
extern const PairOps avx512bf16_tiles;  ///< x86-64 only

}  // namespace annulus::kernels::simd
