/// How wgmma finds its operands in shared memory, and how TMA lays them out there: slabs of 64 columns of 16 bits, a row of
/// 128 bytes below the other, 16-byte chunks swizzled by the row over 1024 bytes ("128-byte swizzle").
/// PTX ISA, "Asynchronous warpgroup level matrix shared memory layout" and "Matrix descriptor format".
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cuda/machine.hpp"

namespace annulus::kernels::cuda {

inline constexpr int slab_columns = 64;
inline constexpr int slab_row_bytes = 128;
inline constexpr int swizzle_bytes = 1024;  ///< eight rows: the period of the pattern, and what slabs are aligned to

/// A matrix from `address` on (of the shared state space). Fields count 16 bytes: 14 bits from bit 0 the address, from bit 16
/// the leading and from bit 32 the stride offset; bits 62 and 63 the swizzle, 1 for 128 bytes.
///   k runs along rows ("K-major"): stride = bytes from eight rows to the next eight; leading counts for nothing.
///   k runs down rows (transposed): stride likewise, leading = bytes from a slab to the next.
ANNULUS_DEVICE std::uint64_t matrix_descriptor(std::uint32_t address, int leading_bytes) {
  constexpr std::uint64_t stride = swizzle_bytes >> 4;
  constexpr std::uint64_t swizzle_128 = 1;
  return (address & 0x3ffffU) >> 4 | static_cast<std::uint64_t>(leading_bytes >> 4) << 16 | stride << 32 |
         swizzle_128 << 62;
}

/// The same matrix from `bytes` further on.
ANNULUS_DEVICE std::uint64_t moved(std::uint64_t descriptor, int bytes) {
  return descriptor + static_cast<std::uint64_t>(bytes >> 4);
}

}  // namespace annulus::kernels::cuda
