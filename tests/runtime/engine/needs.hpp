/// Who must hear of which rows, found pair by pair.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>

#include "runtime/engine/ring_attention.hpp"
#include "runtime/layout/halo_rounds.hpp"
#include "tests/support/random_masks.hpp"

namespace annulus::test {

/// For as many queries as keys, all of whose global tokens travel if `global_tokens_travel`.
struct Needs {
  using Pairs = std::set<std::pair<int, int>>;  ///< (from, to) of ranks
  std::int64_t keys = 0;     ///< rows that a rank lacks for its queries that do not travel, over all ranks
  std::int64_t queries = 0;  ///< travelling queries that see keys of another rank, once per such rank
  Pairs key_pairs;
  Pairs query_pairs;

  Needs(const AttentionSpec& spec, const Layout& layout, bool global_tokens_travel = true) : ranks_(layout.ranks()) {
    const OracleMask mask = oracle_mask(spec.mask);
    const auto travels = [&](std::int64_t i) {
      std::int64_t begin = 0;
      for (const std::int64_t start : spec.mask.cu_seqlens) begin = start <= i ? start : begin;
      return global_tokens_travel && i - begin < spec.mask.global_tokens;
    };
    for (int rank = 0; rank < ranks_; ++rank) {
      std::set<std::int64_t> lacking;
      std::set<std::int64_t> visiting;
      for (std::int64_t i = 0; i < spec.seq_q; ++i) {
        for (std::int64_t j = 0; j < spec.seq_k; ++j) {
          if (layout.owner(i) == layout.owner(j) || !mask.visible(i, j)) continue;
          if (travels(i) && layout.owner(j) == rank) visiting.insert(i);
          if (!travels(i) && layout.owner(i) == rank) lacking.insert(j);
        }
      }
      keys += static_cast<std::int64_t>(lacking.size());
      queries += static_cast<std::int64_t>(visiting.size());
      for (const std::int64_t j : lacking) key_pairs.insert({layout.owner(j), rank});
      for (const std::int64_t i : visiting) query_pairs.insert({layout.owner(i), rank});
    }
  }

  /// Messages that take all of it there, or all that comes of it back: one per pair of ranks, and one more where keys
  /// of a round after the first travel as well as queries.
  std::uint64_t messages(const HaloRounds& rounds) const {
    Pairs pairs = query_pairs;
    pairs.insert(key_pairs.begin(), key_pairs.end());
    const auto are_two = [&](const std::pair<int, int>& pair) {
      const int distance = (pair.second - pair.first + ranks_) % ranks_;
      return distance >= rounds.ends.front() && query_pairs.contains(pair);
    };
    return pairs.size() + static_cast<std::uint64_t>(std::ranges::count_if(key_pairs, are_two));
  }

 private:
  int ranks_;
};

}  // namespace annulus::test
