/// How many visible pairs a rank's queries have with each block, from a few of them. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/layout/layout.hpp"
#include "runtime/layout/mask.hpp"
#include "runtime/layout/row_set.hpp"

namespace annulus::forecast {

struct StepWork {
  double pairs = 0;
  double edges = 0;  ///< query rows whose visible keys begin or end within the block
};

/// Some queries of one rank, each for the rows around it. Exact where the number of visible keys grows evenly with the
/// row within each of the `samples` parts of every piece.
class SampledQueries {
 public:
  SampledQueries(const Mask& mask, const RowSet& queries, int samples);

  /// With the block of `block_rows` rows that `block` counts.
  StepWork against(const Layout::RowCounter& block, std::int64_t block_rows) const;
  /// With all keys.
  StepWork with_all() const;

 private:
  struct Sample {
    VisibleKeys keys;
    double rows;
  };
  std::vector<Sample> samples_;
  std::int64_t seq_k_;
};

}  // namespace annulus::forecast
