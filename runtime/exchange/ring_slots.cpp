/// Slots grow and stay.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/exchange/ring_slots.hpp"

#include "kernels/base/buffer.hpp"

namespace annulus {

void RingSlots::reserve(std::uint64_t bytes) {
  std::array<std::uint64_t, 1> most{bytes};
  if (group_.size() > 1) group_.max(most);  // also the barrier after which the slots of the last pass may be overwritten
  const auto padded = static_cast<std::uint64_t>(round_up(static_cast<std::int64_t>(most[0]), buffer_alignment));
  if (padded <= slot_bytes_ && (window_ || group_.size() == 1)) return;
  if (group_.size() > 1) {
    window_.reset();
    window_ = std::make_unique<SharedWindow>(group_, checked_product({count_, static_cast<std::int64_t>(padded)}));
  } else {
    for (int slot = 0; slot < count_; ++slot) own_[static_cast<std::size_t>(slot)] = carrier_.allocate(padded);
  }
  slot_bytes_ = padded;
}

std::byte* RingSlots::at(int member, int hop) const {
  const auto slot = static_cast<std::size_t>(hop % count_);
  return window_ ? window_->segment(member) + slot * slot_bytes_ : own_[slot].get();
}

void RingSlots::meet() const {
  if (!window_) return;
  window_->sync();
  group_.barrier();
  window_->sync();
}

}  // namespace annulus
