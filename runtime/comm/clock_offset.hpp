/// How far apart the clocks of two ranks are.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

#include "runtime/comm/communicator.hpp"

namespace annulus {

/// Rank 0's clock minus that of `rank`, in nanoseconds: half way between question and answer, of the fastest of some
/// tries (Cristian, 1989), so wrong by half of that trip at most. Both ranks call it, nobody else; both learn the answer.
/// `now` reads the caller's own clock.
std::int64_t clock_offset(const Communicator& world, int rank, const std::function<std::int64_t()>& now);

}  // namespace annulus
