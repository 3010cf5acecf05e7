/// 64-bit size arithmetic that refuses to wrap, and the contract assertion of debug builds.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <source_location>

#include "kernels/base/error.hpp"

namespace annulus {

/// Product of extents and element sizes. Throws ResourceError if it does not fit 63 bits (nothing that large can be
/// allocated, and std::ptrdiff_t indexes it) or if a factor is negative.
inline std::uint64_t checked_product(std::initializer_list<std::int64_t> factors) {
  std::int64_t product = 1;
  for (const std::int64_t factor : factors) {
    if (factor < 0 || __builtin_mul_overflow(product, factor, &product)) {
      throw ResourceError("a size does not fit 63 bits (no machine can hold it); try smaller extents");
    }
  }
  return static_cast<std::uint64_t>(product);
}

/// Sum of sizes. Throws ResourceError likewise.
inline std::uint64_t checked_sum(std::initializer_list<std::uint64_t> sizes) {
  std::int64_t sum = 0;
  for (const std::uint64_t size : sizes) {
    if (__builtin_add_overflow(sum, size, &sum)) {
      throw ResourceError("a sum of sizes does not fit 63 bits (no machine can hold it); try smaller extents");
    }
  }
  return static_cast<std::uint64_t>(sum);
}

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }

/// Ends the process when a contract of ours is broken. Debug builds only; user errors throw instead.
[[noreturn]] inline void contract_broken(const char* condition, std::source_location at) {
  std::fprintf(stderr, "annulus: broken contract %s in %s (%s:%u)\n", condition, at.function_name(), at.file_name(),
               static_cast<unsigned>(at.line()));
  std::abort();
}

#if defined(NDEBUG)
#define ANNULUS_EXPECT(condition) static_cast<void>(0)
#else
#define ANNULUS_EXPECT(condition) \
  ((condition) ? static_cast<void>(0) : ::annulus::contract_broken(#condition, std::source_location::current()))
#endif

}  // namespace annulus
