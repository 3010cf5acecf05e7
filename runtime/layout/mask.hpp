/// Who sees whom: the mask as a rule on global positions. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/contract/attention.hpp"
#include "runtime/layout/layout.hpp"
#include "runtime/layout/row_set.hpp"

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

/// Key positions begin, begin + step, ... below end; empty if begin >= end.
struct PosSpan {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t step = 1;

  bool empty() const { return begin >= end; }
  std::int64_t size() const { return empty() ? 0 : (end - begin - 1) / step + 1; }
  friend bool operator==(const PosSpan&, const PosSpan&) = default;
};

/// The keys that one query sees, by the rule that shows them: ascending, disjoint, some empty.
struct VisibleKeys {
  PosSpan prefix;  ///< sinks and global tokens, where `local` does not reach them
  PosSpan before;  ///< of the stride, between prefix and local
  PosSpan local;   ///< window and chunk; everything that base allows where nothing narrows it
  PosSpan after;   ///< of the stride, behind local

  std::array<PosSpan, 4> spans() const { return {prefix, before, local, after}; }
  std::int64_t count() const { return prefix.size() + before.size() + local.size() + after.size(); }
};

/// A checked MaskSpec on sequences of given lengths. Every rule answers one question: which key positions does the
/// query at position i see? Tiles, plans and kernels are derived from that answer alone.
class Mask {
 public:
  /// Throws UsageError for negative sizes, for sinks, global tokens or a stride without a window or chunk, and for
  /// cu_seqlens that do not start at 0, decrease, do not end at seq_k, or with seq_q != seq_k. Sizes may be as large as
  /// the type allows.
  Mask(MaskSpec spec, std::int64_t seq_q, std::int64_t seq_k);

  const MaskSpec& spec() const { return spec_; }
  bool has_prefix() const { return prefix_ > 0; }
  /// The stride, no longer than both sequences together; 0: none.
  std::int64_t stride() const { return sizes_.stride; }
  std::int64_t seq_q() const { return seq_q_; }
  std::int64_t seq_k() const { return seq_k_; }
  /// Position of query `q` (in [0, seq_q)) in key coordinates; negative where seq_q > seq_k.
  std::int64_t key_position(std::int64_t q) const { return q + seq_k_ - seq_q_; }

  /// All positions of the document that holds position `i` (in key coordinates).
  PosSpan document(std::int64_t i) const;

  /// The keys that query `q` in [0, seq_q) sees.
  VisibleKeys visible_keys(std::int64_t q) const;
  /// No query up to `q` in [0, seq_q) sees keys from here on. With windows and chunks that look ahead it may be less tight.
  std::int64_t keys_end(std::int64_t q) const;
  /// Number of visible (query, key) pairs: 2 * 2 * head_dim flops each and head forward. Where sinks, global tokens, a
  /// stride, or a window and chunks meet, it takes a step per query (20 ns each), else one per document.
  std::int64_t visible_pairs() const;
  /// "causal", "full, 3 documents", "causal, window (1023, 0), 4 sinks": for tables and messages.
  std::string describe() const;

 private:
  friend std::vector<PosSpan> needed_keys(const Mask& mask, PosSpan queries);

  PosSpan base_keys(std::int64_t i, PosSpan document) const;
  PosSpan local_keys(std::int64_t i, PosSpan document) const;
  VisibleKeys with_extras(std::int64_t i, PosSpan document, PosSpan base) const;
  std::int64_t pairs_in_band(std::int64_t queries, std::int64_t keys) const;
  std::int64_t pairs_in_chunks(std::int64_t queries, std::int64_t keys) const;
  void add_needed(std::int64_t first, std::int64_t last, PosSpan document, std::vector<PosSpan>& needed) const;

  MaskSpec spec_;
  std::int64_t seq_q_;
  std::int64_t seq_k_;
  MaskSpec sizes_;           ///< spec_ cut to what the lengths can tell apart, so that sums do not wrap; no documents
  std::int64_t prefix_ = 0;  ///< first tokens of a document that everyone sees whom base lets
};

/// Sorted, disjoint ranges of the keys that some query in [queries.begin, queries.end) sees. Exact without a stride;
/// where that shows something, all that base allows. Takes a step per document touched.
std::vector<PosSpan> needed_keys(const Mask& mask, PosSpan queries);

/// One owner's block as the mask meets it: which of its rows does a query see?
class BlockRows {
 public:
  BlockRows(const Mask& mask, const Layout& k_layout, int owner);
  /// Of rows that are kept together, whoever owns them; they outlive this.
  BlockRows(const Mask& mask, const RowSet& keys);

  /// Spans that every query gets: 1, with sinks or global tokens 2; a stride adds one (causal) or two, in zigzag
  /// layouts twice, in striped ones once per offset in a stripe that it can hit.
  std::int64_t spans_per_query() const;
  /// Appends spans_per_query() spans: what VisibleRows holds for query `q`.
  void append(std::int64_t q, std::vector<kernels::RowSpan>& spans) const;

 private:
  /// Rows row, row + row_step, ... hold positions pos, pos + pos_step, ... below end.
  struct Lattice {
    std::int64_t row;
    std::int64_t row_step;
    std::int64_t pos;
    std::int64_t pos_step;
    std::int64_t end;
  };
  void cut_into_pieces(const std::vector<Piece>& pieces);
  void solve();
  std::int64_t rows_before(std::int64_t pos) const { return keys_ ? keys_->rows_before(pos) : counter_.rows_before(pos); }
  void cut_into_offsets(const Layout& k_layout, int owner);
  void append_range(const PosSpan& keys, std::vector<kernels::RowSpan>& spans) const;
  void append_progression(const PosSpan& keys, std::vector<kernels::RowSpan>& spans) const;
  kernels::RowSpan rows_of(const Lattice& lattice, const PosSpan& keys) const;

  const Mask& mask_;
  Layout::RowCounter counter_;
  const RowSet* keys_ = nullptr;  ///< asked instead of the counter
  // Where the mask has a stride: the owner's shard, and how a step of its positions stands to the stride.
  std::vector<Lattice> lattices_;
  std::int64_t common_ = 1;    ///< greatest common divisor of both
  std::int64_t inverse_ = 0;   ///< of pos_step / common_ modulo period_
  std::int64_t period_ = 1;    ///< every how many rows of a lattice the stride comes by
  std::int64_t hit_ = 0;       ///< lattices that one query's progression meets, at most
};

/// The mask as one rank meets one owner's block: spans of the owner's rows for each of the rank's query rows.
struct BlockMask {
  std::vector<kernels::RowSpan> spans;
  std::int64_t per_row = 1;
  std::int64_t pairs = 0;  ///< visible pairs in this block
  kernels::VisibleRows view() const { return {spans, per_row}; }
};
BlockMask block_mask(const Mask& mask, const Layout& q_layout, int rank, const Layout& k_layout, int owner);

/// The same for rows that are kept together, whoever owns them; queries outside `computed` see nothing.
BlockMask block_mask(const Mask& mask, const RowSet& queries, const RowSet& computed, const RowSet& keys);

}  // namespace annulus
