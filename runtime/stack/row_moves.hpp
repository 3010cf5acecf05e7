/// Rows of x between a shard and the shard with its halo, within one buffer.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/layout/row_set.hpp"

namespace annulus::stack {

/// `tensor` is dense [batch, rows, row_bytes]. Rows of `from` that are in `to`, a subset, move together. Local.
void narrow(std::byte* tensor, std::int64_t batch, std::int64_t row_bytes, const RowSet& from, const RowSet& to);

/// Rows of `from` move apart to their places in `to`, a superset; rows in between become zero. Local.
void widen(std::byte* tensor, std::int64_t batch, std::int64_t row_bytes, const RowSet& from, const RowSet& to);

/// Copies the rows that both sets have from one dense tensor to another. Local.
void copy_rows(const std::byte* from, const RowSet& from_rows, std::byte* to, const RowSet& to_rows, std::int64_t batch,
               std::int64_t row_bytes);

}  // namespace annulus::stack
