/// A shard's rows as the transfers that move them. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/layout/layout.hpp"

namespace annulus {

/// Bytes that one transfer moves at most, and that one rank needs to stage it. HDF5 1.10 refuses 2 GiB in one
/// independent transfer.
inline constexpr std::int64_t staging_bytes = std::int64_t{64} << 20;

/// `count` blocks of `block` rows: consecutive rows in the shard from `row`, positions `pos + i * pos_stride`.
struct RowRun {
  std::int64_t row = 0;
  std::int64_t pos = 0;
  std::int64_t block = 0;
  std::int64_t count = 1;
  std::int64_t pos_stride = 1;
  std::int64_t rows() const { return block * count; }
  friend bool operator==(const RowRun&, const RowRun&) = default;
};

/// Covers `pieces` in order with runs of at most `max_rows` rows; equal pieces at equal distances (stripes) share one.
std::vector<RowRun> plan_runs(std::span<const Piece> pieces, std::int64_t max_rows);

}  // namespace annulus
