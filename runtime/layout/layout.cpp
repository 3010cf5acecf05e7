/// Shard arithmetic: every question is answered from rows_before(), which counts a shard's rows below a position.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/layout/layout.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "kernels/base/checked.hpp"
#include "kernels/base/error.hpp"

namespace annulus {
namespace {
constexpr std::array<std::pair<LayoutKind, std::string_view>, 3> names{
    {{LayoutKind::contiguous, "contiguous"}, {LayoutKind::zigzag, "zigzag"}, {LayoutKind::striped, "striped"}}};
}  // namespace

std::string_view name(LayoutKind kind) {
  return std::find_if(names.begin(), names.end(), [&](const auto& entry) { return entry.first == kind; })->second;
}

std::optional<LayoutKind> parse_layout(std::string_view word) {
  for (const auto& [kind, known] : names) {
    if (known == word) return kind;
  }
  return std::nullopt;
}

Layout::Layout(LayoutKind kind, std::int64_t seq_len, int ranks, std::int64_t stripe)
    : kind_(kind), seq_len_(seq_len), ranks_(ranks), stripe_(kind == LayoutKind::striped ? stripe : 1) {
  if (seq_len < 0 || ranks < 1 || stripe < 1) {
    throw UsageError("a layout of " + std::to_string(seq_len) + " positions in stripes of " + std::to_string(stripe) +
                     " on " + std::to_string(ranks) + " ranks is impossible; try positive numbers");
  }
  checked_product({seq_len, 2, ranks});  // chunk_begin() multiplies them
  checked_product({stripe, ranks});
}

int Layout::chunks() const { return kind_ == LayoutKind::zigzag ? 2 * ranks_ : ranks_; }

std::int64_t Layout::chunk_begin(std::int64_t chunk) const { return chunk * seq_len_ / chunks(); }

std::int64_t Layout::max_rows() const {
  std::int64_t most = 0;
  for (int rank = 0; rank < ranks_; ++rank) most = std::max(most, rows(rank));
  return most;
}

Layout::RowCounter Layout::row_counter(int rank) const {
  RowCounter counter;
  counter.seq_len_ = seq_len_;
  if (kind_ == LayoutKind::striped) {
    counter.round_ = stripe_ * ranks_;
    counter.begin_[0] = rank * stripe_;
    counter.end_[0] = counter.begin_[0] + stripe_;
    return counter;
  }
  counter.begin_[0] = chunk_begin(rank);
  counter.end_[0] = chunk_begin(rank + 1);
  if (kind_ == LayoutKind::zigzag) {
    counter.begin_[1] = chunk_begin(2 * ranks_ - 1 - rank);
    counter.end_[1] = chunk_begin(2 * ranks_ - rank);
  }
  return counter;
}

std::int64_t Layout::RowCounter::rows_before(std::int64_t pos) const {
  pos = std::clamp<std::int64_t>(pos, 0, seq_len_);
  const auto within = [&](int chunk, std::int64_t at) {
    const auto i = static_cast<std::size_t>(chunk);
    return std::clamp(at, begin_[i], end_[i]) - begin_[i];
  };
  if (round_ > 0) return pos / round_ * (end_[0] - begin_[0]) + within(0, pos % round_);
  return within(0, pos) + within(1, pos);
}

std::int64_t Layout::deal(std::int64_t pos) const {
  if (kind_ == LayoutKind::striped) return pos / stripe_;
  return ((pos + 1) * chunks() - 1) / seq_len_;  // the largest chunk c with floor(c * seq_len / chunks) <= pos
}

int Layout::owner_of_deal(std::int64_t deal) const {
  if (kind_ == LayoutKind::striped) return static_cast<int>(deal % ranks_);
  return static_cast<int>(deal < ranks_ ? deal : 2 * ranks_ - 1 - deal);
}

std::int64_t Layout::position(int rank, std::int64_t row) const {
  if (kind_ == LayoutKind::striped) return (row / stripe_ * ranks_ + rank) * stripe_ + row % stripe_;
  const std::int64_t low_rows = chunk_begin(rank + 1) - chunk_begin(rank);
  return row < low_rows ? chunk_begin(rank) + row : chunk_begin(2 * ranks_ - 1 - rank) + row - low_rows;
}

std::vector<Piece> Layout::pieces(int rank) const {
  std::vector<Piece> found;
  const auto add = [&](std::int64_t begin, std::int64_t end) {
    if (begin >= end) return;
    if (!found.empty() && found.back().pos + found.back().rows == begin) {
      found.back().rows += end - begin;
    } else {
      found.push_back({rows_before(rank, begin), begin, end - begin});
    }
  };
  if (kind_ == LayoutKind::striped) {
    for (std::int64_t pos = rank * stripe_; pos < seq_len_; pos += stripe_ * ranks_) {
      add(pos, std::min(pos + stripe_, seq_len_));
    }
    return found;
  }
  add(chunk_begin(rank), chunk_begin(rank + 1));
  if (kind_ == LayoutKind::zigzag) add(chunk_begin(2 * ranks_ - 1 - rank), chunk_begin(2 * ranks_ - rank));
  return found;
}

RowSet Layout::row_set(int rank) const {
  std::vector<PosRange> spans;
  for (const Piece& piece : pieces(rank)) spans.push_back({piece.pos, piece.pos + piece.rows});
  return RowSet(std::move(spans));
}

std::vector<std::int64_t> Layout::positions(int rank) const { return row_set(rank).positions(); }

}  // namespace annulus
