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

}  // namespace annulus
