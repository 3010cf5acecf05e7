/// What kernels are told: plain structs, passed by value. All pointers are to device memory.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace annulus::kernels::cuda {

/// Neighbouring column tiles [begin, end) that one row tile meets; `masked`: pairs inside have to be checked.
struct TileRun {
  std::int32_t begin;
  std::int32_t end;
  std::int32_t masked;
};

/// Which tiles meet (TilePlan). There are order-many places to work at for each (batch, head).
struct TilePlanView {
  const std::int32_t* order;    ///< row tiles with work, longest first; then those without, if any
  const std::int32_t* offsets;  ///< [row tiles + 1] into runs
  const TileRun* runs;
};

/// Key rows begin, begin + step, ... below end; begin == end if there are none.
struct KeySpan {
  std::int32_t begin;
  std::int32_t end;
  std::int32_t step;
};

/// The mask of a block, read in masked tiles only.
struct MaskView {
  const KeySpan* spans;  ///< [q_rows][per_row]
  std::int32_t per_row;
  std::int32_t q_rows;  ///< rows from here on are padding and see nothing
};

/// From q.k to log2 units. Plain scores are q.k * exponent_scale, exponent_scale > 0; general ones
/// log2_e * (cap(softmax_scale * q.k) - slope[head] * |i - j|).
struct ScoreArgs {
  float exponent_scale;
  float softmax_scale;
  float softcap;        ///< 0: none
  const float* slopes;  ///< [heads], or null: no ALiBi
  const std::int64_t* query_positions;
  const std::int64_t* key_positions;
};

/// Extents. Queries of a (batch, head) are padded to padded_rows with zeros; keys are not padded.
struct Extents {
  std::int32_t batch;
  std::int32_t heads;
  std::int32_t group;  ///< query heads per kv head
  std::int32_t padded_rows;
  std::int32_t key_rows;
};

/// attend: the carry (o, m, l, weight) meets one block.
struct ForwardArgs {
  Extents extents;
  TilePlanView plan;
  MaskView mask;
  ScoreArgs score;
  const void* q;       ///< [batch][heads][padded_rows][width]
  const void* block;   ///< [batch][kv_heads]{K, V}[key_rows][width]
  float* o;            ///< [batch][heads][padded_rows][width], unnormalised
  float* m;            ///< [batch][heads][padded_rows], log2 units
  float* l;            ///< sum of p
  float* weight;       ///< sum of p as O was given it, rounded to the element type; f32: unused, l is both
  std::int32_t fresh;  ///< the first block: the carry is not read
};

/// Where TMA finds a matrix: made by the host (CUtensorMap, or the emulator's own), opaque to kernels.
struct alignas(64) TensorMap {
  unsigned char bytes[128];
};

/// attend on Hopper. Boxes are slabs (matrix_descriptor.hpp) of a row tile or key tile.
struct HopperForwardArgs {
  ForwardArgs forward;
  TensorMap q;      ///< [batch * heads][padded_rows][width]
  TensorMap block;  ///< [batch * kv_heads * 2][key_rows][width]; rows beyond are zeros
  std::uint32_t places;  ///< ForwardPlace, below 2^31: the blocks of the grid share them (PersistentWalk)
};

/// attend of the backward pass: either side's gradients of one block.
struct BackwardArgs {
  Extents extents;
  TilePlanView plan;  ///< rows are the side whose gradients are computed
  MaskView mask;
  ScoreArgs score;
  const void* q;  ///< [batch][heads][padded_rows][width], as dout
  const void* dout;
  const float* lse;    ///< [batch][heads][padded_rows] in log2 units, +infinity where no key is seen; as delta
  const float* delta;  ///< dout.out
  const void* block;
  float* dq;           ///< [batch][heads][padded_rows][width], lacks softmax_scale; fused: QueryShares, added to
  float* gradient;     ///< [batch][kv_heads]{dK, dV}[key_rows][width], written
  std::int32_t fresh;  ///< dq is not read
};

/// attend of the backward pass on Hopper: a box is a slab of a row tile or of a column tile, as the kernel reads it.
struct HopperBackwardArgs {
  BackwardArgs backward;
  TensorMap q;  ///< [batch * heads][padded_rows][width], as dout
  TensorMap dout;
  TensorMap block;  ///< [batch * kv_heads * 2][key_rows][width]
};

/// finish: out = O / weight, lse of l; one warp per row. `attended` = 0: there was no block, the carry is not read.
struct FinishArgs {
  const float* o;
  const float* m;
  const float* l;
  const float* weight;  ///< f32: l
  const float* sink;    ///< [heads], or null
  void* out;            ///< [batch][rows][heads][head_dim]
  float* lse;           ///< [batch][heads][rows]
  std::int32_t batch;
  std::int32_t heads;
  std::int32_t rows;
  std::int32_t padded_rows;
  std::int32_t head_dim;
  std::int32_t attended;
};

/// dQ from QueryShares (hopper_query_share.hpp) to rows.
struct DqRowsArgs {
  float* dq;
};

/// delta = dout.out; one warp per padded row.
struct DeltaArgs {
  const void* dout;  ///< [batch * heads * padded_rows][width] of the problem's type
  const float* out;  ///< likewise, f32
  float* delta;
  std::int64_t rows;  ///< batch * heads * padded_rows
};

/// sum += term, element by element; both aligned to 16 bytes.
struct AddArgs {
  float* sum;
  const float* term;
  std::int64_t quads;  ///< elements / 4
};

}  // namespace annulus::kernels::cuda
