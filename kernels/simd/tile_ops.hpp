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

/// One instruction set and what a word of its tiles is. Operands of products are tiles of 32-bit words behind float
/// pointers: a word is one f32 (pair = 1), or two bf16 that are neighbours along the direction summed over (pair = 2,
/// the earlier one in the low half). Scores, sums and carries are f32 always. Pointers are aligned to 64 bytes, widths
/// are multiples of 16, `keys` of 32, and score tiles are [rows][score_stride]. Plain pointers and sizes only: what is
/// compiled with an instruction set's flags must not share inline functions with files that run everywhere (the linker
/// keeps one copy of those).
struct TileOps {
  std::int64_t pair;  ///< elements of a word; `depth` counts words, `keys` and `rows` count elements
  /// scores[12][keys] = q^T k; q packed [depth][12], panels [keys / 32][depth][32].
  void (*scores)(const float* q, const float* panels, std::int64_t keys, std::int64_t depth, float* scores);
  /// Online softmax of 12 rows: m' = max(m, scale * max_j s_j) (log2 units), p = 2^(scale * s - m'),
  /// rescale = 2^(m - m'), l := l * rescale + sum_j p_j. A row of -infinity changes nothing and becomes zeros. p
  /// replaces s as words along the keys: [12][keys / pair]. `weight` is l of p as its words are rounded, so that equal
  /// values average to themselves; with pair = 1 that is l, and it is not touched.
  void (*softmax)(float* scores, std::int64_t keys, float scale, float* m, float* l, float* weight, float* rescale);
  /// rows[12][width] = rescale[12] * rows + p[12][keys] * v[keys][width]; p as softmax leaves it, words of v hold
  /// `pair` keys.
  void (*accumulate_rescaled)(const float* p, std::int64_t keys, const float* v, std::int64_t width,
                              const float* rescale, float* rows);
  /// rows[12][width] += ds[12][keys] * k[keys][width]; words along the keys, rows of ds score_stride apart.
  void (*accumulate)(const float* ds, std::int64_t keys, const float* k, std::int64_t width, float* rows);
  /// columns[12][width] += p[rows][12]^T * x[rows][width]; words along the rows, those of p pair * score_stride apart.
  /// `p` is aligned to 4 bytes only.
  void (*accumulate_transposed)(const float* p, std::int64_t rows, const float* x, std::int64_t width, float* columns);
  /// Backward of 12 rows: p = 2^(scale * s - lse2), ds = p * (t - delta), times `slope` if given. p replaces s and ds
  /// replaces t as words along the rows, in the place of each word's first row. `along_keys` receives ds as words along
  /// the keys; with pair = 1 that is t itself, and it is not touched. lse2 = +infinity gives zeros.
  void (*gradients)(float* s, float* t, float* along_keys, std::int64_t keys, float scale, const float* lse2,
                    const float* delta, const float* slope);
  /// One row: s := scale * s, then cap * tanh(s / cap) if cap > 0; slope (if given) receives 1 - tanh^2.
  void (*natural_scores)(float* s, std::int64_t keys, float scale, float cap, float* slope);
  /// f32 of `count` (a multiple of 32) 16-bit elements; source aligned to 2 bytes.
  void (*widen_bf16)(const std::uint16_t* source, std::int64_t count, float* target);
  void (*widen_f16)(const std::uint16_t* source, std::int64_t count, float* target);
  /// `count` f32 times `factor`, rounded to nearest even as from_float<bf16> does; target aligned to 2 bytes.
  void (*narrow_bf16)(const float* source, float factor, std::int64_t count, std::uint16_t* target);
  /// Independent multiply-adds from registers and nothing else: the rate that no kernel can pass. Returns flops; `x`
  /// keeps the compiler from doing the sums itself. `target` takes 16 vectors.
  double (*multiply_add_burst)(std::int64_t rounds, float x, float* target);
};

extern const TileOps portable_tiles;
extern const TileOps avx2_tiles;         ///< x86-64 only
extern const TileOps avx512_tiles;       ///< x86-64 only
extern const TileOps avx512_bf16_tiles;  ///< x86-64 only; for bf16 tensors

}  // namespace annulus::kernels::simd
