/// Every receive is posted before the matching send; a slot is free once its send is done and all members have read it.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/exchange/block_travel.hpp"

#include "runtime/exchange/tags.hpp"

namespace annulus {

void BlockTravel::begin(const PassSizes& pass) {
  pass_ = &pass;
  slots_.reserve(pass.block.bytes(pass.most_held(ring_)));
}

void BlockTravel::start(int step) {
  const int hop = ring_.hop_of(step);
  if (!ring_.begins_hop(step) || ring_.is_last_hop(hop)) return;
  const std::int64_t held = pass_->held(ring_, hop);
  const std::int64_t arriving = pass_->held(ring_, hop + 1);
  const std::int64_t leaving = pass_->travel.onward[static_cast<std::size_t>(hop)];
  carrier_.together([&] {
    in_ = carrier_.receive(slots_.at(ring_.member(), hop + 1), pass_->block.runs(arriving, 0, arriving), ring_.next(),
                           block_tag);
    out_ = carrier_.send(slots_.at(ring_.member(), hop), pass_->block.runs(held, 0, leaving), ring_.prev(), block_tag);
  });
  traffic_.count(out_);
}

void BlockTravel::finish(int step) {
  if (!ring_.ends_hop(step) || ring_.is_last_hop(ring_.hop_of(step))) return;
  const Traffic::Exposed exposed(traffic_);
  in_.wait();
  out_.wait();
  carrier_.landed();
  slots_.meet();
}

void BlockTravel::poll() {
  in_.test();
  out_.test();
}

}  // namespace annulus
