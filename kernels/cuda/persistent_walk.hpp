/// Which places the blocks of a grid that stays work at: round after round through their list, ahead in one, back in the next.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/machine.hpp"

namespace annulus::kernels::cuda {

/// As places go from long to short, what a block has to do more than another in one round is made up for in the next: under a
/// causal mask, 64 row tiles of 24 heads on 132 blocks, the last one has 0.2% more than its share (7.9% if all rounds go ahead,
/// 0.2% if whoever is idle takes the next place). Every place is one block's; which one depends on numbers alone, so a block
/// knows its next place without asking, and nothing has to be reset between launches.
class PersistentWalk {
 public:
  ANNULUS_DEVICE PersistentWalk(std::uint32_t block, std::uint32_t blocks, std::uint32_t places)
      : place_(block), step_(2 * (blocks - block) - 1), steps_(2 * blocks), places_(places) {}

  ANNULUS_DEVICE bool done() const { return place_ >= places_; }
  ANNULUS_DEVICE std::uint32_t place() const { return place_; }
  ANNULUS_DEVICE void next() {
    place_ += step_;
    step_ = steps_ - step_;
  }

 private:
  std::uint32_t place_;
  std::uint32_t step_;   ///< to the next place; the one after that is what is missing to two rounds
  std::uint32_t steps_;
  std::uint32_t places_;
};

}  // namespace annulus::kernels::cuda
