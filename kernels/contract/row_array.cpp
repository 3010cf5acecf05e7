/// Cuts of packed arrays.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/contract/row_array.hpp"

#include <cstring>

namespace annulus::kernels {

std::vector<ByteRun> RowArray::runs(std::int64_t rows, std::int64_t begin, std::int64_t end) const {
  if (begin >= end) return {};
  if (begin == 0 && end == rows) return {{0, bytes(rows)}};
  const auto all = static_cast<std::uint64_t>(round_up(rows, granule));
  const auto first = static_cast<std::uint64_t>(begin);
  const auto count = static_cast<std::uint64_t>(round_up(end, granule)) - first;
  std::vector<ByteRun> runs;
  std::uint64_t part = 0;
  for (std::int64_t head = 0; head < heads; ++head) {
    for (const std::int64_t width : {k_bytes, v_bytes}) {
      const auto row_bytes = static_cast<std::uint64_t>(width);
      runs.push_back({part + first * row_bytes, count * row_bytes});
      part += all * row_bytes;
    }
  }
  return runs;
}

void copy_runs(std::byte* to, std::span<const ByteRun> to_runs, const std::byte* from, std::span<const ByteRun> from_runs) {
  each_common_run(to_runs, from_runs, [&](const ByteRun& target, std::uint64_t source) {
    std::memcpy(to + target.offset, from + source, target.bytes);
  });
}

}  // namespace annulus::kernels
