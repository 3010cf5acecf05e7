/// Masks drawn from all rules, and the predicate that judges them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "runtime/layout/mask.hpp"
#include "tests/support/oracle.hpp"

namespace annulus::test {

inline OracleMask oracle_mask(const MaskSpec& spec) {
  return {.causal = spec.causal,
          .left = spec.window_size.left,
          .right = spec.window_size.right,
          .chunk_size = spec.chunk_size,
          .sink_tokens = spec.sink_tokens,
          .global_tokens = spec.global_tokens,
          .stride = spec.stride,
          .cu_seqlens = spec.cu_seqlens};
}

/// Any valid mask: every rule alone and with others, sizes from 1 to beyond the sequences and to the end of the type.
class RandomMask {
 public:
  RandomMask(std::mt19937_64& draw, std::int64_t seq_q, std::int64_t seq_k)
      : draw_(draw), seq_q_(seq_q), seq_k_(seq_k) {}

  MaskSpec any() {
    MaskSpec spec = one_in(4) ? MaskSpec{} : local();
    spec.causal = one_in(2);
    if (seq_q_ == seq_k_ && one_in(3)) spec.cu_seqlens = documents();
    return spec;
  }

 private:
  std::int64_t below(std::int64_t limit) {
    return static_cast<std::int64_t>(draw_() % static_cast<std::uint64_t>(limit));
  }
  bool one_in(std::int64_t n) { return below(n) == 0; }

  std::int64_t size() {
    const std::array huge{seq_q_ + seq_k_ + 1, std::int64_t{1} << 62, std::numeric_limits<std::int64_t>::max()};
    if (one_in(8)) return huge[static_cast<std::size_t>(below(3))];
    return 1 + (one_in(2) ? below(6) : below(std::max(seq_q_, seq_k_) + 2));
  }

  MaskSpec local() {
    MaskSpec spec;
    const bool chunked = one_in(3);
    if (chunked) spec.chunk_size = size();
    if (!chunked || one_in(3)) spec.window_size = {size() - 1, one_in(2) ? size() - 1 : 0};
    if (one_in(4)) (one_in(2) ? spec.window_size.left : spec.window_size.right) = -1;
    if (!spec.is_local()) spec.chunk_size = size();
    if (one_in(3)) spec.sink_tokens = size();
    if (one_in(3)) spec.global_tokens = size();
    if (one_in(3)) spec.stride = size();
    return spec;
  }

  std::vector<std::int64_t> documents() {
    std::vector<std::int64_t> bounds{0, seq_k_};
    for (std::int64_t i = below(4); i > 0; --i) bounds.push_back(below(seq_k_ + 1));
    if (one_in(2)) bounds.push_back(bounds.back());  // an empty one
    std::sort(bounds.begin(), bounds.end());
    return bounds;
  }

  std::mt19937_64& draw_;
  std::int64_t seq_q_;
  std::int64_t seq_k_;
};

}  // namespace annulus::test
