/// One number for a sharded tensor, whatever its shards are.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "runtime/comm/communicator.hpp"
#include "runtime/layout/layout.hpp"

namespace annulus::stack {

/// Collective. Lower-case hex xxh64 (seed 0) of the stored bytes of a tensor [batch, seq, row] in global order; `rows`
/// are this rank's [batch, layout.rows(rank)], `row_bytes` each. Rank 0 takes the rows window by window of positions:
/// `window_bytes` of memory there, twice, and none elsewhere.
std::string digest(const Communicator& comm, const Layout& layout, std::int64_t batch, std::int64_t row_bytes,
                   std::span<const std::byte> rows, std::int64_t window_bytes = std::int64_t{4} << 20);

}  // namespace annulus::stack
