/// Counts what this process asks of MPI, below all of our own counters. Linked into tests that promise silence.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace annulus::test {

struct MpiCalls {
  std::uint64_t messages = 0;  ///< point-to-point sends
  std::uint64_t bytes = 0;     ///< of those sends
  std::uint64_t others = 0;    ///< collectives and one-sided calls that reach other ranks
};

/// Since the last call of this function. From the first one on ranks give no signs of life, which a slow machine would have
/// them send and this would count.
MpiCalls take_mpi_calls();

}  // namespace annulus::test
