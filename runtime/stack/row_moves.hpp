/// Rows of x between a shard and the shard with its halo, within one buffer.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/base/buffer.hpp"
#include "runtime/layout/row_set.hpp"

namespace annulus::stack {

/// `tensor` is dense [batch, rows, row_bytes]. Rows of `from` that are in `to`, a subset, move together. Local.
void narrow(std::byte* tensor, std::int64_t batch, std::int64_t row_bytes, const RowSet& from, const RowSet& to);

/// Rows of `from` move apart to their places in `to`, a superset; rows in between become zero. Local.
void widen(std::byte* tensor, std::int64_t batch, std::int64_t row_bytes, const RowSet& from, const RowSet& to);

/// While it lives, a dense tensor of rows `held` holds those of `own`, a subset, alone: the others are put aside and come
/// back. Keeps references to the sets. Local.
class ShardAlone {
 public:
  ShardAlone(std::byte* tensor, std::int64_t batch, std::int64_t row_bytes, const RowSet& held, const RowSet& own);
  ~ShardAlone();
  ShardAlone(const ShardAlone&) = delete;
  ShardAlone& operator=(const ShardAlone&) = delete;

 private:
  std::byte* tensor_;
  std::int64_t batch_;
  std::int64_t row_bytes_;
  const RowSet& held_;
  const RowSet& own_;
  RowSet halo_;
  Buffer<std::byte> aside_;
};

/// Copies the rows that both sets have from one dense tensor to another. Local.
void copy_rows(const std::byte* from, const RowSet& from_rows, std::byte* to, const RowSet& to_rows, std::int64_t batch,
               std::int64_t row_bytes);

}  // namespace annulus::stack
