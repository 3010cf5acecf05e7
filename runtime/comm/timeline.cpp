/// Sums as spans end: a span's own seconds are its length without those of spans within.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/timeline.hpp"

#include <new>
#include <utility>

namespace annulus {

std::string_view name(Activity activity) {
  constexpr std::array<std::string_view, activities> names{"compute", "communication", "agreement", "files", "other"};
  return names[static_cast<std::size_t>(activity)];
}

void Timeline::add(const Span& span) {
  const double length = std::chrono::duration<double>(span.end - span.begin).count();
  seconds_[static_cast<std::size_t>(span.activity)] += length - within_;
  within_ = length;
  if (keep_ == Keep::sums) return;
  try {
    if (spans_.size() < most_spans) return spans_.push_back(span);
  } catch (const std::bad_alloc&) {  // a trace is not worth a run
  }
  ++dropped_;
}

Timed::Timed(Timeline* timeline, Activity activity, const char* name, std::int64_t number) : timeline_(timeline) {
  if (timeline_ == nullptr) return;
  if (timeline_->marks_.begin != nullptr) timeline_->marks_.begin(name, number);
  within_before_ = std::exchange(timeline_->within_, 0);
  span_ = {activity, name, number, 0, Timeline::Clock::now(), {}};
}

Timed::~Timed() {
  if (timeline_ == nullptr) return;
  span_.end = Timeline::Clock::now();
  if (timeline_->marks_.end != nullptr) timeline_->marks_.end();
  timeline_->add(span_);
  timeline_->within_ += within_before_;
}

}  // namespace annulus
