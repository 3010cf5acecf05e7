/// The mask in rows of blocks: ranges of positions are ranges of rows, a stride's progressions are solved for.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>
#include <utility>

#include "kernels/base/checked.hpp"
#include "runtime/layout/mask.hpp"

namespace annulus {
namespace {

__extension__ typedef __int128 Wide;  ///< products of positions

std::int64_t mod(Wide a, std::int64_t b) { return static_cast<std::int64_t>((a % b + b) % b); }

/// x with a x = 1 modulo m, for coprime a and m (extended Euclid); 0 for m = 1.
std::int64_t inverse(std::int64_t a, std::int64_t m) {
  std::int64_t x = 1, next_x = 0;
  for (std::int64_t r = a, next_r = m; next_r != 0;) {
    const std::int64_t quotient = r / next_r;
    r = std::exchange(next_r, r - quotient * next_r);
    x = std::exchange(next_x, x - quotient * next_x);
  }
  return mod(x, m);
}

}  // namespace

BlockRows::BlockRows(const Mask& mask, const Layout& k_layout, int owner)
    : mask_(mask), counter_(k_layout.row_counter(owner)) {
  if (mask.stride() == 0) return;
  const std::int64_t stripe = k_layout.stripe();
  const std::int64_t offsets_hit = ceil_div(stripe, std::gcd(stripe * k_layout.ranks(), mask.stride()));
  if (k_layout.kind() != LayoutKind::striped || ceil_div(k_layout.rows(owner), stripe) <= offsets_hit) {
    cut_into_pieces(k_layout.pieces(owner));
  } else {
    cut_into_offsets(k_layout, owner);
    hit_ = offsets_hit;
  }
  solve();
}

BlockRows::BlockRows(const Mask& mask, const RowSet& keys) : mask_(mask), keys_(&keys) {
  if (mask.stride() == 0) return;
  cut_into_pieces(keys.pieces());
  solve();
}

/// How a step within a lattice stands to the stride.
void BlockRows::solve() {
  if (lattices_.empty()) return;
  const std::int64_t step = lattices_.front().pos_step;
  common_ = std::gcd(step, mask_.stride());
  period_ = mask_.stride() / common_;
  inverse_ = inverse(step / common_, period_);
}

void BlockRows::cut_into_pieces(const std::vector<Piece>& pieces) {
  for (const Piece& piece : pieces) lattices_.push_back({piece.row, 1, piece.pos, 1, piece.pos + piece.rows});
  hit_ = static_cast<std::int64_t>(lattices_.size());
}

/// Stripes are many: the rows at one offset in all of them.
void BlockRows::cut_into_offsets(const Layout& k_layout, int owner) {
  const std::int64_t stripe = k_layout.stripe();
  for (std::int64_t offset = 0; offset < stripe; ++offset) {
    lattices_.push_back({offset, stripe, owner * stripe + offset, stripe * k_layout.ranks(), k_layout.seq_len()});
  }
}

std::int64_t BlockRows::spans_per_query() const {
  const bool causal = mask_.spec().causal;  // nothing lies behind what a causal query sees around itself
  return (mask_.has_prefix() ? 2 : 1) + (causal ? 1 : 2) * hit_;
}

void BlockRows::append(std::int64_t q, std::vector<kernels::RowSpan>& spans) const {
  const VisibleKeys keys = mask_.visible_keys(q);
  if (mask_.has_prefix()) append_range(keys.prefix, spans);
  if (hit_ > 0) append_progression(keys.before, spans);
  append_range(keys.local, spans);
  if (hit_ > 0 && !mask_.spec().causal) append_progression(keys.after, spans);
}

void BlockRows::append_range(const PosSpan& keys, std::vector<kernels::RowSpan>& spans) const {
  spans.push_back({rows_before(keys.begin), rows_before(keys.end)});
}

void BlockRows::append_progression(const PosSpan& keys, std::vector<kernels::RowSpan>& spans) const {
  const std::size_t full = spans.size() + static_cast<std::size_t>(hit_);
  if (!keys.empty()) {
    for (const Lattice& lattice : lattices_) {
      if (mod(keys.begin - lattice.pos, common_) == 0) spans.push_back(rows_of(lattice, keys));
    }
  }
  spans.resize(full);
}

/// Row t of the lattice holds pos + t * pos_step, which the stride meets where t = (begin - pos) / pos_step modulo
/// period_.
kernels::RowSpan BlockRows::rows_of(const Lattice& lattice, const PosSpan& keys) const {
  const auto rows_before = [&](std::int64_t pos) {
    return pos <= lattice.pos ? 0 : ceil_div(pos - lattice.pos, lattice.pos_step);
  };
  const std::int64_t first = rows_before(keys.begin);
  const std::int64_t end = rows_before(std::min(keys.end, lattice.end));
  const std::int64_t hit = mod(Wide{(keys.begin - lattice.pos) / common_} * inverse_, period_);
  const std::int64_t begin = first + mod(hit - first, period_);
  if (begin >= end) return {};
  return {lattice.row + begin * lattice.row_step, lattice.row + (end - 1) * lattice.row_step + 1,
          period_ * lattice.row_step};
}

BlockMask block_mask(const Mask& mask, const Layout& q_layout, int rank, const Layout& k_layout, int owner) {
  const BlockRows rows(mask, k_layout, owner);
  BlockMask block;
  block.per_row = rows.spans_per_query();
  block.spans.reserve(checked_product({q_layout.rows(rank), block.per_row}));
  const std::int64_t q_rows = q_layout.rows(rank);  // no list of pieces: stripes may be as many as rows
  for (std::int64_t row = 0; row < q_rows; ++row) rows.append(q_layout.position(rank, row), block.spans);
  for (const kernels::RowSpan& span : block.spans) block.pairs += span.rows();
  return block;
}

BlockMask block_mask(const Mask& mask, const RowSet& queries, const RowSet& computed, const RowSet& keys) {
  const BlockRows rows(mask, keys);
  BlockMask block;
  block.per_row = rows.spans_per_query();
  block.spans.reserve(checked_product({queries.rows(), block.per_row}));
  for (const Piece& piece : computed.pieces()) {
    const std::int64_t first = queries.rows_before(piece.pos);
    block.spans.resize(checked_product({first, block.per_row}));  // up to here nothing is seen
    for (std::int64_t q = piece.pos; q < piece.pos + piece.rows; ++q) rows.append(q, block.spans);
  }
  block.spans.resize(checked_product({queries.rows(), block.per_row}));
  for (const kernels::RowSpan& span : block.spans) block.pairs += span.rows();
  return block;
}

}  // namespace annulus
