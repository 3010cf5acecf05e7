/// Random numbers as a function of (seed, stream, counter): any rank computes any element without communication.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <numbers>

namespace annulus::stack {

/// The finaliser of splitmix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
constexpr std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

/// One stream of numbers; `name` tells streams of one seed apart. A value that is the same on every rank.
class Seeded {
 public:
  constexpr Seeded(std::uint64_t seed, std::initializer_list<std::uint64_t> name) : key_(mix(seed)) {
    for (const std::uint64_t part : name) key_ = mix(key_ ^ part);
  }

  constexpr std::uint64_t bits(std::uint64_t counter) const { return mix(key_ + counter); }
  /// Uniform in [0, 1).
  constexpr double unit(std::uint64_t counter) const { return static_cast<double>(bits(counter) >> 11) * 0x1p-53; }
  /// Uniform with mean 0 and variance 1.
  double uniform(std::uint64_t counter) const { return (2 * unit(counter) - 1) * std::numbers::sqrt3; }
  /// Standard normal (Box and Muller 1958).
  double normal(std::uint64_t counter) const {
    const double radius = std::sqrt(-2 * std::log1p(-unit(2 * counter)));
    return radius * std::cos(2 * std::numbers::pi * unit(2 * counter + 1));
  }

 private:
  std::uint64_t key_;
};

}  // namespace annulus::stack
