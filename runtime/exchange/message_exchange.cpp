/// The ring by messages: every receive is posted before the matching send, every buffer waits before it is reused.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/exchange/message_exchange.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/base/stopwatch.hpp"
#include "runtime/comm/agreement.hpp"

namespace annulus {
namespace {

constexpr int block_tag = 11;
constexpr int gradient_tag = 12;

void grow(Buffer<std::byte>& buffer, std::uint64_t bytes) {
  if (static_cast<std::uint64_t>(buffer.size()) < bytes) buffer = Buffer<std::byte>(static_cast<std::int64_t>(bytes));
}

std::span<std::byte> first(const Buffer<std::byte>& buffer, std::uint64_t bytes) {
  return buffer.span().first(bytes);
}

}  // namespace

void MessageExchange::begin(PassSizes sizes) {
  traffic_ = {};
  sizes_ = std::move(sizes);
  const bool alone = ring_.size == 1;
  std::uint64_t block = 0;
  std::uint64_t gradient = 0;
  for (int owner = 0; owner < ring_.size; ++owner) {
    block = std::max(block, sizes_.block_bytes[static_cast<std::size_t>(owner)]);
    gradient = std::max(gradient, sizes_.gradient_bytes(owner));
  }
  together(comm_, [&] {
    grow(current_, block);
    grow(share_, gradient);
    if (alone) return;
    grow(spare_, block);
    grow(arriving_, gradient);
    grow(leaving_, gradient);
  });
}

Transfer MessageExchange::send(std::span<const std::byte> bytes, int tag) {
  Transfer out = Transfer::send(comm_, bytes, ring_.prev(), tag);
  traffic_.messages += out.messages();
  traffic_.bytes += bytes.size();
  return out;
}

void MessageExchange::wait(Transfer& transfer) {
  const Stopwatch watch;
  transfer.wait();
  traffic_.exposed_seconds += watch.seconds();
}

void MessageExchange::start(int step) {
  if (ring_.is_last(step)) return;
  const auto bytes_at = [&](int s) { return sizes_.block_bytes[static_cast<std::size_t>(ring_.owner_at(s))]; };
  block_in_ = Transfer::receive(comm_, first(spare_, bytes_at(step + 1)), ring_.next(), block_tag);
  block_out_ = send(first(current_, bytes_at(step)), block_tag);
}

void MessageExchange::finish(int step) {
  if (ring_.is_last(step)) return;
  wait(block_in_);
  wait(block_out_);
  std::swap(current_, spare_);
}

void MessageExchange::add_share(int step, bool empty) {
  if (ring_.size == 1) {
    if (empty) std::memset(share_.data(), 0, sizes_.gradient_bytes(0));
    return;
  }
  const int owner = ring_.owner_at(step);
  const std::uint64_t bytes = sizes_.gradient_bytes(owner);
  wait(gradient_in_);
  wait(gradient_out_);
  if (step == 0) {
    if (empty) std::memset(share_.data(), 0, bytes);
    std::swap(leaving_, share_);
  } else {
    if (!empty) {
      add_gradients(sizes_.gradient_dtype, arriving_.data(), share_.data(),
                    sizes_.gradient_elements[static_cast<std::size_t>(owner)]);
    }
    std::swap(leaving_, arriving_);
  }
  gradient_in_ = Transfer::receive(comm_, first(arriving_, sizes_.gradient_bytes(ring_.owner_at(step + 1))),
                                   ring_.next(), gradient_tag);
  gradient_out_ = send(first(leaving_, bytes), gradient_tag);
}

const std::byte* MessageExchange::home() {
  if (ring_.size == 1) return share_.data();
  wait(gradient_in_);
  wait(gradient_out_);
  return arriving_.data();
}

void MessageExchange::poll() {
  block_in_.test();
  block_out_.test();
  gradient_in_.test();
  gradient_out_.test();
}

}  // namespace annulus
