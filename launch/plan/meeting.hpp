/// How ranks come to the blocks of others, and what pictures say of it. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "runtime/exchange/exchange_kind.hpp"

namespace annulus::launch {

enum class Route : std::uint8_t {
  ring,    ///< blocks go around, step by step
  direct,  ///< rows come straight from their owners: there are no steps
  halo     ///< each rank holds the rows that it sees: there are no steps
};

struct Meeting {
  ExchangeKind exchange = ExchangeKind::messages;  ///< resolved
  int group_size = 1;  ///< ranks that read each other's blocks in place before blocks hop on; 1: the flat ring
  Route route = Route::ring;
};

/// Of a ring: the step at which `rank` meets the block that was born on `owner`. O(ranks).
int step_of(int rank, int owner, int ranks, int group_size);

/// "exchange nodes: a ring of groups of 2 ranks, blocks read in place within each".
std::string describe(const Meeting& meeting, int ranks);

}  // namespace annulus::launch
