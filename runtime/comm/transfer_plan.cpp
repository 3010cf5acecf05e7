/// Splits a transfer into pieces that an int can count.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/transfer_plan.hpp"

#include <algorithm>

namespace annulus {

std::vector<TransferPiece> plan_transfer(std::uint64_t bytes) {
  std::vector<TransferPiece> pieces;
  for (std::uint64_t offset = 0; offset < bytes; offset += transfer_piece_bytes) {
    pieces.push_back({offset, static_cast<int>(std::min(transfer_piece_bytes, bytes - offset))});
  }
  return pieces;
}

std::uint64_t sum_of(std::span<const kernels::ByteRun> runs) {
  std::uint64_t bytes = 0;
  for (const kernels::ByteRun& run : runs) bytes += run.bytes;
  return bytes;
}

std::vector<TransferRuns> plan_transfer(std::span<const kernels::ByteRun> runs, std::uint64_t piece_bytes) {
  std::vector<TransferRuns> pieces;
  std::uint64_t room = 0;  // in the last piece
  for (kernels::ByteRun run : runs) {
    while (run.bytes > 0) {
      if (room == 0) {
        pieces.emplace_back();
        room = piece_bytes;
      }
      const std::uint64_t bytes = std::min(room, run.bytes);
      pieces.back().push_back({run.offset, bytes});
      run = {run.offset + bytes, run.bytes - bytes};
      room -= bytes;
    }
  }
  return pieces;
}

}  // namespace annulus
