/// The one place where 64-bit byte counts become MPI counts. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/contract/row_array.hpp"

namespace annulus {

/// One MPI call's share of a transfer: `count` bytes from `offset`.
struct TransferPiece {
  std::uint64_t offset = 0;
  int count = 0;
};

/// Largest piece: far below INT_MAX, large enough that a piece's latency does not show.
inline constexpr std::uint64_t transfer_piece_bytes = std::uint64_t{256} << 20;

/// Pieces that cover `bytes` in order, each count in 1..transfer_piece_bytes; no pieces for 0 bytes. MPI takes an int
/// count and (int)2^32 is 0: one large transfer would report success and move nothing.
std::vector<TransferPiece> plan_transfer(std::uint64_t bytes);

/// Some of the bytes of an array, in order: the runs of one MPI message. Each fits an int, and so does their sum.
using TransferRuns = std::vector<kernels::ByteRun>;

/// Bytes of them all.
std::uint64_t sum_of(std::span<const kernels::ByteRun> runs);

/// The same pieces of bytes that lie apart: piece by piece as plan_transfer cuts their sum, so that a contiguous side
/// matches. `runs` in the order in which they travel; empty ones are dropped.
std::vector<TransferRuns> plan_transfer(std::span<const kernels::ByteRun> runs,
                                        std::uint64_t piece_bytes = transfer_piece_bytes);

}  // namespace annulus
