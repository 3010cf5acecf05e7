/// The rule "which keys does this query see", and its images in rows of blocks.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/layout/mask.hpp"

#include <algorithm>

#include "kernels/base/checked.hpp"
#include "kernels/base/error.hpp"

namespace annulus {
namespace {

void check_documents(const std::vector<std::int64_t>& cu_seqlens, std::int64_t seq_q, std::int64_t seq_k) {
  if (cu_seqlens.empty()) return;
  if (seq_q != seq_k) {
    throw UsageError("cu_seqlens with " + std::to_string(seq_q) + " queries and " + std::to_string(seq_k) +
                     " keys (documents share their positions); try equal lengths");
  }
  const auto drop = std::adjacent_find(cu_seqlens.begin(), cu_seqlens.end(), std::greater<>{});
  if (drop != cu_seqlens.end()) {
    throw UsageError("cu_seqlens decreases from " + std::to_string(*drop) + " to " + std::to_string(*(drop + 1)) +
                     " at entry " + std::to_string(drop + 1 - cu_seqlens.begin()) +
                     " (each entry is where a document begins); try sorted offsets");
  }
  if (cu_seqlens.front() != 0 || cu_seqlens.back() != seq_k) {
    throw UsageError("cu_seqlens runs from " + std::to_string(cu_seqlens.front()) + " to " +
                     std::to_string(cu_seqlens.back()) + " (documents must cover positions 0 to " +
                     std::to_string(seq_k) + ")");
  }
}

}  // namespace

Mask::Mask(MaskSpec spec, std::int64_t seq_q, std::int64_t seq_k)
    : spec_(std::move(spec)), seq_q_(seq_q), seq_k_(seq_k) {
  check_documents(spec_.cu_seqlens, seq_q, seq_k);
}

PosSpan Mask::visible_keys(std::int64_t q) const {
  const std::int64_t i = key_position(q);
  PosSpan keys{0, seq_k_};
  if (!spec_.cu_seqlens.empty()) {  // seq_q == seq_k, so i lies inside a document
    const auto end = std::upper_bound(spec_.cu_seqlens.begin(), spec_.cu_seqlens.end(), i);
    keys = {*(end - 1), *end};
  }
  if (spec_.causal) keys.end = std::min(keys.end, i + 1);
  keys.end = std::max(keys.end, keys.begin);
  return keys;
}

std::int64_t Mask::visible_pairs() const {
  checked_product({2, seq_q_, seq_k_});
  const auto pairs_of = [this](std::int64_t queries, std::int64_t keys) {
    const std::int64_t rows = std::min(queries, keys);  // causal rows that see a key: the last `rows` queries
    return spec_.causal ? rows * (2 * keys - rows + 1) / 2 : queries * keys;
  };
  if (spec_.cu_seqlens.empty()) return pairs_of(seq_q_, seq_k_);
  std::int64_t pairs = 0;
  for (std::size_t d = 0; d + 1 < spec_.cu_seqlens.size(); ++d) {
    const std::int64_t length = spec_.cu_seqlens[d + 1] - spec_.cu_seqlens[d];
    pairs += pairs_of(length, length);
  }
  return pairs;
}

std::string Mask::describe() const {
  std::string text = spec_.causal ? "causal" : "full";
  if (!spec_.cu_seqlens.empty()) text += ", " + std::to_string(spec_.cu_seqlens.size() - 1) + " documents";
  return text;
}

BlockMask block_mask(const Mask& mask, const Layout& q_layout, int rank, const Layout& k_layout, int owner) {
  BlockMask block;
  const Layout::RowCounter counter = k_layout.row_counter(owner);
  block.spans.reserve(static_cast<std::size_t>(q_layout.rows(rank)));
  for (const Piece& piece : q_layout.pieces(rank)) {
    for (std::int64_t q = piece.pos; q < piece.pos + piece.rows; ++q) {
      const PosSpan keys = mask.visible_keys(q);
      const kernels::RowSpan rows{counter.rows_before(keys.begin), counter.rows_before(keys.end)};
      block.spans.push_back(rows);
      block.pairs += rows.end - rows.begin;
    }
  }
  return block;
}

}  // namespace annulus
namespace annulus {
std::vector<PosSpan> needed_keys(const Mask& mask, PosSpan queries) {
  std::vector<PosSpan> s;
  for (auto q = queries.begin; q < queries.end; ++q) { auto k = mask.visible_keys(q); s.push_back(k); }
  return s;
}
BlockMask block_mask(const Mask& mask, const RowSet& queries, const RowSet& computed, const RowSet& keys) {
  BlockMask block;
  for (std::int64_t row = 0; row < queries.rows(); ++row) {
    const auto q = queries.position(row);
    PosSpan k = computed.contains(q) ? mask.visible_keys(q) : PosSpan{0, 0};
    block.spans.push_back({keys.rows_before(k.begin), keys.rows_before(k.end)});
    block.pairs += block.spans.back().end - block.spans.back().begin;
  }
  return block;
}
}
