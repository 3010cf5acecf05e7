/// Which rank keeps which tokens: contiguous, zigzag or striped shards of a sequence. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "runtime/layout/row_set.hpp"

namespace annulus {

enum class LayoutKind { contiguous, zigzag, striped };

std::string_view name(LayoutKind kind);
std::optional<LayoutKind> parse_layout(std::string_view word);

/// Shards of a sequence of any length over any number of ranks; shards may differ by rows and may be empty. Positions
/// grow with the row in every shard, so a range of positions is a range of rows on every rank.
///   contiguous: P chunks, rank r keeps chunk r
///   zigzag:     2P chunks, rank r keeps chunks r and 2P-1-r (balances causal work)
///   striped:    stripes of `stripe` positions dealt round-robin (Striped Attention, Brandon et al. 2023)
/// Chunk sizes differ by at most one row.
class Layout {
 public:
  /// Answers rows_before for one rank again and again without the divisions that find its shard.
  class RowCounter {
   public:
    std::int64_t rows_before(std::int64_t pos) const;

   private:
    friend class Layout;
    std::array<std::int64_t, 2> begin_{};  ///< of the shard's chunks, or [0] of its stripe in each round
    std::array<std::int64_t, 2> end_{};
    std::int64_t round_ = 0;  ///< positions dealt in one round of stripes; 0: the shard is two chunks
    std::int64_t seq_len_ = 0;
  };
  RowCounter row_counter(int rank) const;

  /// Throws UsageError unless seq_len >= 0, ranks >= 1 and stripe >= 1. `stripe` is read only by striped layouts.
  Layout(LayoutKind kind, std::int64_t seq_len, int ranks, std::int64_t stripe = 1);

  LayoutKind kind() const { return kind_; }
  std::int64_t seq_len() const { return seq_len_; }
  int ranks() const { return ranks_; }
  std::int64_t stripe() const { return stripe_; }

  /// Rows of a rank's shard.
  std::int64_t rows(int rank) const { return rows_before(rank, seq_len_); }
  std::int64_t max_rows() const;
  /// Rows of a rank's shard that hold positions below `pos`; pos may lie outside [0, seq_len].
  std::int64_t rows_before(int rank, std::int64_t pos) const { return row_counter(rank).rows_before(pos); }
  /// The rank that keeps `pos` in [0, seq_len), and the row there.
  int owner(std::int64_t pos) const { return owner_of_deal(deal(pos)); }
  std::int64_t row(std::int64_t pos) const { return rows_before(owner(pos), pos); }
  /// Chunks or stripes, counted along the sequence: the one that holds `pos` in [0, seq_len), and the rank that it was dealt.
  std::int64_t deal(std::int64_t pos) const;
  int owner_of_deal(std::int64_t deal) const;
  /// The position that a row of a rank's shard holds.
  std::int64_t position(int rank, std::int64_t row) const;
  /// The shard as runs of consecutive positions, ascending; no empty pieces.
  std::vector<Piece> pieces(int rank) const;
  RowSet row_set(int rank) const;
  /// All positions of a shard, by row.
  std::vector<std::int64_t> positions(int rank) const;

 private:
  int chunks() const;
  std::int64_t chunk_begin(std::int64_t chunk) const;

  LayoutKind kind_;
  std::int64_t seq_len_;
  int ranks_;
  std::int64_t stripe_;
};

}  // namespace annulus
