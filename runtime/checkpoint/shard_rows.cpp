/// Copies the parts of rows, or many rows at once where they are dense.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/shard_rows.hpp"

#include <cstring>

namespace annulus::checkpoint {
namespace {

/// Calls copy(part in memory, place in dense bytes, bytes) for all that `rows` rows are made of.
template <class Byte, class Copy>
void for_each_part(const ShardRows<Byte>& shard, std::int64_t line, std::int64_t row, std::int64_t rows, Copy&& copy) {
  const std::int64_t row_bytes = shard.parts * shard.part_bytes;
  if (shard.dense()) return copy(shard.row(line, row), std::int64_t{0}, static_cast<std::size_t>(rows * row_bytes));
  for (std::int64_t r = 0; r < rows; ++r) {
    Byte* const memory = shard.row(line, row + r);
    for (std::int64_t part = 0; part < shard.parts; ++part) {
      copy(memory + part * shard.part_stride, r * row_bytes + part * shard.part_bytes,
           static_cast<std::size_t>(shard.part_bytes));
    }
  }
}

}  // namespace

void pack(const ShardRows<const std::byte>& from, std::int64_t line, std::int64_t row, std::int64_t rows,
          std::byte* to) {
  for_each_part(from, line, row, rows, [&](const std::byte* memory, std::int64_t place, std::size_t bytes) {
    std::memcpy(to + place, memory, bytes);
  });
}

void unpack(const std::byte* from, const ShardRows<std::byte>& to, std::int64_t line, std::int64_t row,
            std::int64_t rows) {
  for_each_part(to, line, row, rows, [&](std::byte* memory, std::int64_t place, std::size_t bytes) {
    std::memcpy(memory, from + place, bytes);
  });
}

}  // namespace annulus::checkpoint
