/// Who sees whom: the mask as a rule on global positions. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/contract/attention.hpp"
#include "runtime/layout/layout.hpp"

namespace annulus {

/// How far a query at position i sees: keys in [i - left, i + right]; -1 leaves that side open.
struct WindowSize {
  std::int64_t left = -1;
  std::int64_t right = -1;
  bool is_set() const { return left >= 0 || right >= 0; }
  friend bool operator==(const WindowSize&, const WindowSize&) = default;
};

/// What a user asks for. Positions of queries are offset by seq_k - seq_q (bottom-right aligned, as flash-attention);
/// chunks, sinks and global tokens are counted from the start of the document. With positions i (query) and j (key):
///   base(i, j)  = (not causal or j <= i) and same_document(i, j)
///   local(i, j) = window and chunk, each only if set; none set: true
///   extra(i, j) = j' < sink_tokens or 0 <= i' < global_tokens or j' < global_tokens or (i - j) mod stride == 0
///   visible     = base and (local or extra)
struct MaskSpec {
  bool causal = false;
  WindowSize window_size{};
  std::int64_t chunk_size = 0;             ///< 0: none; else floor(i' / chunk_size) == floor(j' / chunk_size)
  std::int64_t sink_tokens = 0;            ///< first tokens of a document that stay visible behind the window
  std::int64_t global_tokens = 0;          ///< first tokens of a document that see and are seen (Longformer)
  std::int64_t stride = 0;                 ///< 0: none; else every stride-th key (Sparse Transformer)
  std::vector<std::int64_t> cu_seqlens{};  ///< documents: [0, ..., seq_k], non-decreasing; empty: one document

  /// Some rule narrows what base allows: a local layer.
  bool is_local() const { return window_size.is_set() || chunk_size > 0; }
  friend bool operator==(const MaskSpec&, const MaskSpec&) = default;
};

/// The rule
///   base(i, j) = (not causal or j <= i) and same_document(i, j)
/// Every rule answers one question: which key positions does the query at position i see? The answer is at most
/// `spans_per_query` sorted, disjoint ranges; tiles, plans and kernels are derived from it alone.
class Mask {
 public:
  /// Throws UsageError for cu_seqlens that do not start at 0, decrease, do not end at seq_k, or with seq_q != seq_k.
  Mask(MaskSpec spec, std::int64_t seq_q, std::int64_t seq_k);

  static constexpr std::int64_t spans_per_query = 1;

  const MaskSpec& spec() const { return spec_; }
  std::int64_t seq_q() const { return seq_q_; }
  std::int64_t seq_k() const { return seq_k_; }
  /// Position of query `q` (in [0, seq_q)) in key coordinates; negative where seq_q > seq_k.
  std::int64_t key_position(std::int64_t q) const { return q + seq_k_ - seq_q_; }

  /// The keys that query `q` in [0, seq_q) sees.
  PosSpan visible_keys(std::int64_t q) const;
  /// Number of visible (query, key) pairs: 2 * 2 * head_dim flops each and head forward.
  std::int64_t visible_pairs() const;
  /// "causal", "full", "causal, 3 documents": for tables and messages.
  std::string describe() const;

 private:
  MaskSpec spec_;
  std::int64_t seq_q_;
  std::int64_t seq_k_;
};

/// The mask as one rank meets one owner's block: spans of the owner's rows for each of the rank's query rows.
struct BlockMask {
  std::vector<kernels::RowSpan> spans;
  std::int64_t pairs = 0;  ///< visible pairs in this block
  kernels::VisibleRows view() const { return {spans, Mask::spans_per_query}; }
};
BlockMask block_mask(const Mask& mask, const Layout& q_layout, int rank, const Layout& k_layout, int owner);

/// The keys that some query in `queries` (query indices [begin, end)) may see.
std::vector<PosSpan> needed_keys(const Mask& mask, PosSpan queries);
/// Queries outside `computed` see nothing.
BlockMask block_mask(const Mask& mask, const RowSet& queries, const RowSet& computed, const RowSet& keys);

}  // namespace annulus
