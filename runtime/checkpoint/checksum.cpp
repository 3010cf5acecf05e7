/// xxHash behind our own names.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/checksum.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include "kernels/base/error.hpp"

namespace annulus::checkpoint {

std::uint64_t checksum_of(std::span<const std::byte> bytes) { return XXH64(bytes.data(), bytes.size(), 0); }

std::string hex(std::uint64_t checksum) { return fmt::format("{:016x}", checksum); }

struct StreamedChecksum::State {
  struct Free {
    void operator()(XXH64_state_t* state) const { XXH64_freeState(state); }
  };
  std::unique_ptr<XXH64_state_t, Free> raw{XXH64_createState()};
};

StreamedChecksum::StreamedChecksum() : state_(std::make_unique<State>()) {
  if (!state_->raw || XXH64_reset(state_->raw.get(), 0) != XXH_OK) {
    throw ResourceError("cannot start a checksum (out of memory)");
  }
}
StreamedChecksum::~StreamedChecksum() = default;

void StreamedChecksum::add(std::span<const std::byte> bytes) {
  if (XXH64_update(state_->raw.get(), bytes.data(), bytes.size()) != XXH_OK) {
    throw Error(ExitCode::internal, "a checksum was given no bytes");
  }
}

std::uint64_t StreamedChecksum::value() const { return XXH64_digest(state_->raw.get()); }

}  // namespace annulus::checkpoint
