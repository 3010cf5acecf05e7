/// The ring in shared memory.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/exchange/shared_exchange.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "kernels/base/stopwatch.hpp"
#include "runtime/comm/agreement.hpp"

namespace annulus {
namespace {

constexpr int token_tag = 13;

/// Collective. Replaces the window if any rank needs a larger segment than it has.
void grow(std::unique_ptr<SharedWindow>& window, const Communicator& comm, std::uint64_t own_bytes) {
  std::array<std::uint64_t, 1> too_small{!window || window->own_bytes() < own_bytes ? 1U : 0U};
  comm.max(too_small);  // also the barrier after which the last pass's blocks may be overwritten
  if (too_small[0] == 0) return;
  window.reset();
  window = std::make_unique<SharedWindow>(comm, own_bytes);
}

}  // namespace

SharedExchange::~SharedExchange() = default;

void SharedExchange::begin(PassSizes sizes) {
  traffic_ = {};
  sizes_ = std::move(sizes);
  grow(blocks_, comm_, sizes_.block_bytes[static_cast<std::size_t>(ring_.rank)]);
  if (sizes_.gradient_elements.empty()) return;
  std::uint64_t largest = 0;
  for (int owner = 0; owner < ring_.size; ++owner) largest = std::max(largest, sizes_.gradient_bytes(owner));
  grow(gradients_, comm_, sizes_.gradient_bytes(ring_.rank));
  together(comm_, [&] {
    if (static_cast<std::uint64_t>(share_.size()) < largest) share_ = Buffer<std::byte>(static_cast<std::int64_t>(largest));
  });
}

std::byte* SharedExchange::share(int step) {
  return step == 0 ? gradients_->segment(ring_.rank) : share_.data();  // the owner's own share starts the sum in place
}

void SharedExchange::add_share(int step, bool empty) {
  const int owner = ring_.owner_at(step);
  if (step == 0) {
    if (empty) std::memset(gradients_->segment(ring_.rank), 0, sizes_.gradient_bytes(owner));
  } else {
    await_token();
    if (!empty) {
      add_gradients(sizes_.gradient_dtype, gradients_->segment(owner), share_.data(),
                    sizes_.gradient_elements[static_cast<std::size_t>(owner)]);
    }
  }
  pass_token();
}

const std::byte* SharedExchange::home() {
  await_token();
  return gradients_->segment(ring_.rank);
}

void SharedExchange::pass_token() {
  if (ring_.size == 1) return;
  gradients_->sync();
  token_out_.wait();
  token_out_ = Transfer::send(comm_, {&token_, 1}, ring_.prev(), token_tag);
  traffic_.messages += token_out_.messages();
  traffic_.bytes += 1;
}

void SharedExchange::await_token() {
  if (ring_.size == 1) return;
  const Stopwatch watch;
  std::byte token{};
  comm_.receive({&token, 1}, ring_.next(), token_tag);
  traffic_.exposed_seconds += watch.seconds();
  gradients_->sync();
}

}  // namespace annulus
