/// A sum is in one place at a time, and the tokens and messages say whose turn it is there.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/exchange/gradient_travel.hpp"

#include <algorithm>
#include <utility>

#include "runtime/exchange/tags.hpp"

namespace annulus {

void GradientTravel::grow(GrowingRoom& room, std::uint64_t bytes) {
  if (room.bytes >= bytes) return;
  room = {carrier_.allocate(bytes), bytes};
}

void GradientTravel::begin(const PassSizes& pass) {
  pass_ = &pass;
  slots_.reserve(pass.gradient.bytes(pass.most_held(ring_)));
  if (ring_.size == 1) return;
  grow(share_, pass.gradient.bytes(std::ranges::max(pass.travel.at_step)));
  grow(left_, pass.gradient.bytes(pass.rows - pass.travel.own.back()));
}

/// Rows of this rank's own block that end their journey with `hop`, as they lie in left_.
std::vector<kernels::ByteRun> GradientTravel::left_behind(int hop) const {
  const std::vector<std::int64_t>& own = pass_->travel.own;
  if (ring_.is_last_hop(hop)) return {};
  const auto at = static_cast<std::size_t>(hop);
  return pass_->gradient.runs(pass_->rows - own.back(), own[at + 1] - own.back(), own[at] - own.back());
}

void GradientTravel::open() {
  for (std::vector<Journey>* of_last_pass : {&left_in_, &home_in_, &home_out_}) of_last_pass->clear();
  for (auto* of_last_pass : {&waiting_, &closing_}) of_last_pass->clear();
}

std::vector<BlockPart> GradientTravel::parts(int step) const {
  const std::int64_t rows = pass_->travel.at_step[static_cast<std::size_t>(step)];
  const int count = ring_.groups() > 1 && step == ring_.size - 1 ? pass_->home_parts : 1;
  std::vector<BlockPart> parts;
  for (int index = 0; index < count; ++index) parts.push_back(pass_->part(rows, index, count));
  return parts;
}

/// What this rank has done before the others have waits here, so that the rank need not: parts for their sum to come, and then
/// for those who add to the sum in this rank's slot.
void GradientTravel::add(int step, const BlockPart& part, bool empty) {
  waiting_.push_back(part);
  if (!part.is_last() && waiting_.front().is_first() && !sum_has_come(step)) return;
  for (const BlockPart& done : std::exchange(waiting_, {})) {
    if (done.is_first()) await_sum(step);
    add_rows(step, done, empty);
    pass_token();
    if (ring_.ends_hop(step)) closing_.push_back(done);
  }
  while (!closing_.empty() && (part.is_last() || may_close())) {
    close(ring_.hop_of(step), closing_.front());
    closing_.pop_front();
  }
}

void GradientTravel::add_rows(int step, const BlockPart& part, bool empty) {
  const std::int64_t rows = pass_->travel.at_step[static_cast<std::size_t>(step)];
  const std::vector<kernels::ByteRun> runs = pass_->gradient.runs(rows, part.begin, part.end);
  if (step == 0 && empty) carrier_.clear(sum_at(step), runs);
  if (step == 0 || empty) return;
  carrier_.add(pass_->gradient_dtype, sum_at(step), share_.room.get(), runs);
}

bool GradientTravel::sum_has_come(int step) { return ring_.begins_hop(step) ? in_.test() : token_has_come(); }

bool GradientTravel::may_close() { return token_has_come() && out_.test() && left_out_.test(); }

/// Until those before this rank have added to the sum.
void GradientTravel::await_sum(int step) {
  if (!ring_.begins_hop(step)) return await_token();
  const Traffic::Exposed exposed(traffic_);
  in_.wait();
  carrier_.landed();
}

void GradientTravel::pass_token() {
  if (ring_.group_size == 1) return;
  slots_.sync();
  token_out_.wait();
  token_out_ = Transfer::send(group_, {&token_, 1}, (ring_.member() + ring_.group_size - 1) % ring_.group_size, token_tag);
  traffic_.count(token_out_);
}

Transfer& GradientTravel::next_token() {
  if (!token_in_) {
    token_in_ = Transfer::receive(group_, {&arrived_token_, 1}, (ring_.member() + 1) % ring_.group_size, token_tag);
  }
  return *token_in_;
}

bool GradientTravel::token_has_come() { return ring_.group_size == 1 || next_token().test(); }

void GradientTravel::await_token() {
  if (ring_.group_size == 1) return;
  const Traffic::Exposed exposed(traffic_);
  next_token().wait();
  token_in_.reset();
  slots_.sync();
}

/// The group is done with the part of the sum in this rank's slot.
void GradientTravel::close(int hop, const BlockPart& part) {
  await_token();
  if (ring_.groups() == 1) return;
  if (part.is_first()) {
    const Traffic::Exposed exposed(traffic_);
    out_.wait();
    left_out_.wait();
  }
  const std::byte* const sum = slots_.at(ring_.member(), hop);
  // What has no tags (NCCL) pairs by order: rows that are left and sums that go on never have the same peers here, for 0 < hop.
  carrier_.together([&] {
    if (ring_.is_last_hop(hop)) return send_home(hop, part, sum);
    await_left_rows(hop);
    send_on(hop, sum);
    leave_rows(hop, sum);
  });
}

void GradientTravel::send_on(int hop, const std::byte* sum) {
  const std::int64_t coming = pass_->held(ring_, hop + 1);
  const std::int64_t leaving = pass_->travel.onward[static_cast<std::size_t>(hop)];
  in_ = carrier_.receive(slots_.at(ring_.member(), hop + 1), pass_->gradient.runs(coming, 0, coming), ring_.next(),
                         gradient_tag);
  out_ = carrier_.send(sum, pass_->gradient.runs(pass_->held(ring_, hop), 0, leaving), ring_.prev(), gradient_tag);
  traffic_.count(out_);
}

/// What comes home goes where it lay. Parts of one tag arrive in the order in which they were sent.
void GradientTravel::send_home(int hop, const BlockPart& part, const std::byte* sum) {
  const BlockPart own = pass_->part(pass_->travel.own.back(), part.index, part.count);
  const std::int64_t held = pass_->held(ring_, hop);
  const BlockPart leaving = pass_->part(held, part.index, part.count);
  home_in_.push_back(carrier_.receive(slots_.at(ring_.member(), hop + 1),
                                      pass_->gradient.runs(pass_->rows, own.begin, own.end), ring_.next(), gradient_tag));
  home_out_.push_back(
      carrier_.send(sum, pass_->gradient.runs(held, leaving.begin, leaving.end), ring_.prev(), gradient_tag));
  traffic_.count(home_out_.back());
}

/// From whoever holds this rank's block now.
void GradientTravel::await_left_rows(int hop) {
  if (hop > 0) left_in_.push_back(carrier_.receive(left_.room.get(), left_behind(hop), ring_.host_at(hop), left_tag));
}

void GradientTravel::leave_rows(int hop, const std::byte* sum) {
  const std::int64_t held = pass_->held(ring_, hop);
  const auto runs = pass_->gradient.runs(held, pass_->travel.onward[static_cast<std::size_t>(hop)], held);
  if (hop > 0) {
    left_out_ = carrier_.send(sum, runs, ring_.owner_at(hop * ring_.group_size), left_tag);
    traffic_.count(left_out_);
    return;
  }
  carrier_.copy(left_.room.get(), left_behind(0), sum, runs);
}

const std::byte* GradientTravel::home() {
  const Traffic::Exposed exposed(traffic_);
  for (std::vector<Journey>* journeys : {&home_in_, &home_out_, &left_in_}) {
    for (Journey& journey : *journeys) journey.wait();
  }
  carrier_.landed();
  std::byte* const sum = slots_.at(ring_.member(), ring_.groups() > 1 ? ring_.groups() : 0);
  const std::int64_t left = pass_->rows - pass_->travel.own.back();
  carrier_.copy(sum, pass_->gradient.runs(pass_->rows, pass_->rows - left, pass_->rows), left_.room.get(),
                pass_->gradient.runs(left, 0, left));
  return carrier_.pull(sum, pass_->gradient.bytes(pass_->rows));
}

void GradientTravel::poll() {
  token_out_.test();
  in_.test();
  out_.test();
  left_out_.test();
  for (std::vector<Journey>* journeys : {&left_in_, &home_in_, &home_out_}) {
    // They end in this order, and a test of one moves the others on: 16 tests took 420 ns where one takes 80.
    for (auto journey = journeys->begin(); journey != journeys->end() && journey->test(); ++journey) {
    }
  }
}

}  // namespace annulus
