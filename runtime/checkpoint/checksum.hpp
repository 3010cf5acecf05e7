/// The checksum of granules, metadata and manifests: xxh64 with seed 0.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace annulus::checkpoint {

std::uint64_t checksum_of(std::span<const std::byte> bytes);
/// 16 lower-case hex digits.
std::string hex(std::uint64_t checksum);

/// The same number from bytes that come piece by piece.
class StreamedChecksum {
 public:
  StreamedChecksum();  ///< throws ResourceError
  ~StreamedChecksum();
  void add(std::span<const std::byte> bytes);
  std::uint64_t value() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace annulus::checkpoint
