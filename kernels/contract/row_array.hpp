/// Rows of keys and values, or of their gradients, as they lie in a packed array that can be cut between rows.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/base/checked.hpp"

namespace annulus::kernels {

/// Bytes [offset, offset + bytes) of an array.
struct ByteRun {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  friend bool operator==(const ByteRun&, const ByteRun&) = default;
};

/// Per (batch, kv head) the K rows, then the V rows, both padded to whole granules. An array of fewer rows holds the
/// first ones of each as they lie in the larger array, if their number is a multiple of the granule.
struct RowArray {
  std::int64_t heads = 0;    ///< batch * kv_heads
  std::int64_t k_bytes = 0;  ///< of one row
  std::int64_t v_bytes = 0;
  std::int64_t granule = 1;  ///< rows that are not cut apart

  /// Of an array of `rows`, checked.
  std::uint64_t bytes(std::int64_t rows) const {
    return checked_product({heads, round_up(rows, granule), k_bytes + v_bytes});
  }
  /// Where rows [begin, end) lie in an array of `rows`, in the order in which an array of them alone has them. `begin` is
  /// a multiple of the granule, `end` another or `rows`.
  std::vector<ByteRun> runs(std::int64_t rows, std::int64_t begin, std::int64_t end) const;
};

/// Calls visit(to, from) for bytes that lie together on both sides, in order: a run of the one, its offset in the other.
/// Both have as many bytes, whatever their runs.
template <class Visit>
void each_common_run(std::span<const ByteRun> to_runs, std::span<const ByteRun> from_runs, Visit&& visit) {
  ByteRun source;
  for (ByteRun target : to_runs) {
    while (target.bytes > 0) {
      while (source.bytes == 0) {
        source = from_runs.front();
        from_runs = from_runs.subspan(1);
      }
      const std::uint64_t bytes = source.bytes < target.bytes ? source.bytes : target.bytes;
      visit(ByteRun{target.offset, bytes}, source.offset);
      source = {source.offset + bytes, source.bytes - bytes};
      target = {target.offset + bytes, target.bytes - bytes};
    }
  }
}

/// Copies bytes that lie apart to bytes that lie apart elsewhere, in order: as many, whatever their runs.
void copy_runs(std::byte* to, std::span<const ByteRun> to_runs, const std::byte* from, std::span<const ByteRun> from_runs);

}  // namespace annulus::kernels
