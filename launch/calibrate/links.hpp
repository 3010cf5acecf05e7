/// How fast blocks go from rank to rank.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/comm/communicator.hpp"
#include "runtime/forecast/machine.hpp"

namespace annulus::launch {

/// Collective over `ring`: every rank sends to the one before and hears from the one after, all at once, as blocks travel.
/// At least two ranks. The slowest link counts. Throws the same ResourceError on all ranks without memory.
forecast::LinkSpeed measure_ring_link(const Communicator& ring, std::int64_t bytes, int samples);

}  // namespace annulus::launch
