/// Whose keys and values sit on which rank at which step. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace annulus {

/// Blocks travel rank -> rank - 1; see README.md in this folder for the table at four ranks.
struct RingSchedule {
  int rank = 0;  ///< this rank, [0, size)
  int size = 1;  ///< ranks in the ring
  int next() const { return (rank + 1) % size; }
  int prev() const { return (rank + size - 1) % size; }
  bool is_last(int step) const { return step + 1 == size; }
  /// Birth rank of the block held here at `step`, step in [0, size).
  int owner_at(int step) const { return (rank + step) % size; }
};

}  // namespace annulus
