/// What every backend must do: attend the rows of one rank to one block of keys at a time, forward and backward.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "kernels/base/buffer.hpp"
#include "kernels/base/view.hpp"
#include "kernels/base/workers.hpp"
#include "kernels/contract/row_array.hpp"

namespace annulus::kernels {

namespace cuda {
class Device;
}

/// Where bytes lie: on the device of rows that have one, else in host memory.
enum class Memory { host, device };

/// What one rank computes in one call; the shapes of its queries and the rule of the scores.
///   s = softmax_scale * q.k ;  if softcap > 0: s = softcap * tanh(s / softcap) ;  s = s - alibi_slopes[h] * |i - j|
/// Query head h reads kv head h / (heads / kv_heads). Spans must outlive the pass.
struct Problem {
  std::int64_t batch = 1;
  std::int64_t q_rows = 0;
  std::int64_t heads = 1;
  std::int64_t kv_heads = 1;
  std::int64_t head_dim = 64;
  DType dtype = DType::f32;  ///< of q, k and v
  double softmax_scale = 1;
  double softcap = 0;                             ///< 0: none
  std::span<const float> alibi_slopes;            ///< [heads], or empty: none
  std::span<const float> sink;                    ///< [heads] learned sink logits, or empty: none
  std::span<const std::int64_t> query_positions;  ///< [q_rows], in key coordinates; read only with ALiBi
};

/// The shape of the keys and values of one owner.
struct BlockShape {
  std::int64_t batch = 1;
  std::int64_t rows = 0;
  std::int64_t kv_heads = 1;
  std::int64_t head_dim = 64;
  DType dtype = DType::f32;
};

/// A packed block in hand. `packed` is aligned to 64 bytes and holds packed_bytes(shape, direction). Memory::device is for
/// rows with a device alone: their kernels (Line::kernels) read it there, after attend() has returned.
struct Block {
  BlockShape shape;
  const std::byte* packed = nullptr;
  std::span<const std::int64_t> positions;  ///< [rows]; read only with ALiBi
  Memory memory = Memory::host;             ///< of `packed`, and of the gradients of this block
};

/// Key rows begin, begin + step, ... below end of a block; empty if begin >= end.
struct RowSpan {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t step = 1;

  bool empty() const { return begin >= end; }
  std::int64_t rows() const { return empty() ? 0 : (end - begin - 1) / step + 1; }
  bool holds(std::int64_t row) const { return begin <= row && row < end && (row - begin) % step == 0; }
  /// What lies in a range (of step 1); begins at a row of this span.
  RowSpan within(const RowSpan& range) const {
    const std::int64_t missed = range.begin - begin;
    const std::int64_t skipped = missed <= 0 ? 0 : step == 1 ? missed : (missed + step - 1) / step * step;
    return {begin + skipped, end < range.end ? end : range.end, step};
  }
  friend bool operator==(const RowSpan&, const RowSpan&) = default;
};

/// Which key rows of one block each query row sees: the mask, as kernels know it. Query row r sees the union of
/// spans[r * per_row .. (r + 1) * per_row); no two of them share a row, those of step 1 ascend, any may be empty.
/// Backends skip faster where the k-th span of neighbouring query rows stems from the same rule.
struct VisibleRows {
  std::span<const RowSpan> spans;  ///< [q_rows][per_row]
  std::int64_t per_row = 1;

  std::span<const RowSpan> of_row(std::int64_t row) const {
    return spans.subspan(static_cast<std::size_t>(row * per_row), static_cast<std::size_t>(per_row));
  }
};

/// How a tile (query rows x key rows) stands to the mask.
enum class TileKind { empty, partial, full };

/// Classifies query rows [q_begin, q_end) against key rows `keys` (of step 1). `hull` (if given) receives the smallest range of
/// key rows inside `keys` that any of these query rows sees: what a partial tile has to compute.
TileKind classify(const VisibleRows& visible, std::int64_t q_begin, std::int64_t q_end, RowSpan keys,
                  RowSpan* hull = nullptr);

enum class Direction { forward, backward };

/// What a pass computes with, which outlives it.
struct Resources {
  Workers& workers;
  BufferPool& memory;           ///< of carries and scratch; kept by the caller from pass to pass
  bool deterministic = false;   ///< bits may not depend on timing, even where that is slower (BackwardPass)
};

/// The forward pass of one call on one rank. Carries, per query row and head and in f32 (f64 for f64 tensors), the
/// unnormalised output O, the running maximum m and the sum l over all blocks attended so far:
///   attend:  m' = max(m, max_j s_j);  O = O 2^(m-m') + sum_j 2^(s_j-m') v_j;  l likewise   (s in log2 units)
///   finish:  out = O / l;  lse = ln 2 (m + log2 l), with exp(sink[h]) added to l once
/// (online softmax, Milakov and Gimelshein 2018; FlashAttention-2, Dao 2023, algorithm 1). Rows that saw no key get
/// out = 0 and lse = -infinity (sink[h] with a sink). Bits depend on the sequence of blocks, not on the number of
/// workers nor on timing.
class ForwardPass {
 public:
  virtual ~ForwardPass() = default;
  /// Local. Calls `progress` from the calling thread about every 100 us.
  virtual void attend(const Block& block, const VisibleRows& visible, const Progress& progress) = 0;
  /// Local. out [batch, q_rows, heads, head_dim] in any dtype; lse [batch, heads, q_rows]; every element is written.
  virtual void finish(const TensorView& out, const RowStats& lse) = 0;
};

/// What backward reads, all [batch, q_rows, heads, head_dim] but lse [batch, heads, q_rows]. q has the problem's dtype,
/// out and dout any. Views must outlive the pass.
struct BackwardInputs {
  ConstTensorView q;
  ConstTensorView out;
  ConstTensorView dout;
  ConstRowStats lse;
};

/// The backward pass of one call on one rank: recomputes p = exp(s - lse) per block,
///   dv_j = sum_i p_ij dout_i;  ds_ij = p_ij (dout_i.v_j - dout_i.out_i);  dq_i = sum_j ds'_ij k_j;  dk_j = sum_i ds'_ij q_i
/// with ds' = ds * d(s)/d(q.k)  (FlashAttention-2, algorithm 2). dq stays here in f32 (f64) until finish. Bits depend on the
/// sequence of blocks, not on the number of workers nor on timing; but unless Resources::deterministic, a device may add up
/// dq in the order in which its processors come to it.
class BackwardPass {
 public:
  virtual ~BackwardPass() = default;
  /// Local. Writes (does not add) this rank's share of the block's dK and dV to `gradient`, an array of
  /// gradient_elements(shape) in gradient_dtype(dtype), aligned to 64 bytes. On a device it is written for what
  /// Line::sums_out is told from then on.
  void attend(const Block& block, const VisibleRows& visible, std::byte* gradient, const Progress& progress) {
    attend_part(block, visible, {0, block.shape.rows}, gradient, progress);
  }
  /// The same for the block's rows `part` alone (of step 1), so that their share can leave before the others are done. The
  /// parts of a block come in ascending order, the first from row 0, each from where the last one ended to a multiple of the
  /// table's key_tile or the end of the block. The cuts change no bit.
  virtual void attend_part(const Block& block, const VisibleRows& visible, RowSpan part, std::byte* gradient,
                           const Progress& progress) = 0;
  /// Local. dq [batch, q_rows, heads, head_dim] in any dtype. dsink [heads] or empty: receives this rank's sum over
  /// batch and rows of -exp(sink - lse) * dout.out.
  virtual void finish(const TensorView& dq, std::span<double> dsink) = 0;
};

/// Gradients of keys and values travel and add up in this type.
constexpr DType gradient_dtype(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

/// One row per backend. All functions are local; none changes its inputs.
struct KernelTable {
  std::string_view name;         ///< "reference", "portable", "avx2", "avx512", "avx512-bf16": the word of --backend, logs and tests
  std::string_view unavailable;  ///< empty, or why this machine or build cannot run it
  bool f64;                      ///< takes f64 tensors
  bool bf16_products = false;    ///< multiplies bf16 tensors as they are, up to the bf16 peak; else converted to f32

  /// How packed blocks lie in memory: the same for any number of rows, and a block of the first rows (a multiple of the
  /// granule) is what `pack` makes of those alone.
  RowArray (*packed_rows)(const BlockShape& shape, Direction direction);
  /// Packs k and v [batch, rows, kv_heads, head_dim] (dtype of `shape`) into the kernel's tile order.
  void (*pack)(const BlockShape& shape, Direction direction, const ConstTensorView& k, const ConstTensorView& v,
               std::byte* packed, Workers& workers);
  /// Bytes that a pass allocates for packed queries and carries, checked; scratch of its workers comes on top.
  std::uint64_t (*pass_bytes)(const Problem& problem, Direction direction);
  /// Tiles that each worker of a pass holds, whatever the number of rows; null: none beyond a few rows.
  std::uint64_t (*scratch_bytes)(const Problem& problem, Direction direction) = nullptr;
  /// Null for rows that compute in host memory; else bytes on the device for a pass in either direction over blocks of up
  /// to that shape, checked. Masks and plans come on top.
  std::uint64_t (*device_bytes)(const Problem& problem, const BlockShape& largest) = nullptr;
  /// A pass may read `q`, and whatever `inputs` views, until it ends.
  std::unique_ptr<ForwardPass> (*forward)(const Problem& problem, const ConstTensorView& q, Resources resources);
  std::unique_ptr<BackwardPass> (*backward)(const Problem& problem, const BackwardInputs& inputs, Resources resources);
  /// How the dK/dV array of a block lies in memory: dK as K, dV as V, in gradient_dtype(dtype), cut
  /// between any two rows (granule 1).
  RowArray (*gradient_rows)(const BlockShape& shape);
  /// Key rows that a backward pass takes at a time: where it may be cut into parts.
  std::int64_t (*key_tile)(std::int64_t head_dim);
  /// Writes the summed gradients to dk and dv [batch, rows, kv_heads, head_dim], any dtype.
  void (*unpack_gradient)(const BlockShape& shape, const std::byte* gradient, const TensorView& dk,
                          const TensorView& dv);
  /// Of a row whose kernels run on a device: the seconds that attending has taken there since the last call, and waits for
  /// what is under way. Null: they run on the calling thread and its workers.
  double (*take_device_seconds)() = nullptr;
  /// The device that the passes run on; null for rows that compute in host memory.
  cuda::Device& (*device)() = nullptr;

  /// Bytes of a packed block, checked. Zero for zero rows.
  std::uint64_t packed_bytes(const BlockShape& shape, Direction direction) const {
    return packed_rows(shape, direction).bytes(shape.rows);
  }
  /// Elements of the dK/dV array of a block, checked.
  std::int64_t gradient_elements(const BlockShape& shape) const {
    return static_cast<std::int64_t>(gradient_rows(shape).bytes(shape.rows) / size_of(gradient_dtype(shape.dtype)));
  }
};

}  // namespace annulus::kernels
