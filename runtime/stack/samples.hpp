/// Which rows of a stack are recomputed in f64. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/layout/layout.hpp"

namespace annulus::stack {

struct Sample {
  std::int64_t batch = 0;
  std::int64_t pos = 0;
  friend auto operator<=>(const Sample&, const Sample&) = default;
};

/// At most `rows` different rows of [batch, seq_len], sorted, the same on every rank: the first and the last row, then
/// rows on both sides of shard edges in the first batch, then seeded random ones.
std::vector<Sample> sample_rows(const Layout& layout, std::int64_t batch, std::int64_t rows, std::uint64_t seed);

}  // namespace annulus::stack
