/// Ranges on a profiler's timeline, for those who know of no profiler.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace annulus {

/// Begin and end of a named range of the calling thread; ranges nest. `number`: of the layer, step or rank that the name
/// speaks of, -1: none. `name` outlives the process. Both null: nobody profiles.
struct RangeMarks {
  void (*begin)(const char* name, std::int64_t number) = nullptr;
  void (*end)() = nullptr;
};

}  // namespace annulus
