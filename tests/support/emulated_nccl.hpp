/// What tests ask of the substitute for NCCL (tests/support/nccl/nccl.h).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace annulus::test {

struct EmulatedNccl {
  bool broken = false;         ///< a peer is lost: every question about the state says so
  std::int64_t launches = 0;   ///< groups with something to move
};
EmulatedNccl& emulated_nccl();

}  // namespace annulus::test
