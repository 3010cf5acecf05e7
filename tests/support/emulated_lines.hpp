/// The lines of an emulated device. Some may be late: they work only when somebody waits for them, so that whoever
/// should have waited, and has not, finds memory as it was.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>

#include "kernels/cuda/device.hpp"

namespace annulus::test {

class EmulatedLines {
 public:
  using Line = kernels::cuda::Line;
  using Work = std::function<void()>;
  /// A place in a line; the default is over.
  struct Event {
    Line line = Line::copies;
    std::int64_t place = 0;
  };

  /// None: everything is done when it is asked for.
  void set_late(std::optional<Line> late);
  /// All lines are late but one, which works at once: no other line's wait does its own.
  void set_prompt(Line prompt);

  void enqueue(Line line, Work work);
  Event here(Line line) const { return {line, queue(line).told}; }
  /// `line` goes on after `event`.
  void wait(Line line, Event event);
  /// The host waits.
  void finish(Event event);
  bool is_over(Event event) const { return queue(event.line).done >= event.place; }
  bool idle() const;
  std::int64_t pending(Line line) const { return queue(line).told - queue(line).done; }

 private:
  struct Queue {
    std::deque<Work> works;
    std::int64_t told = 0;
    std::int64_t done = 0;
  };
  Queue& queue(Line line) { return queues_[static_cast<std::size_t>(line)]; }
  const Queue& queue(Line line) const { return queues_[static_cast<std::size_t>(line)]; }

  std::array<Queue, kernels::cuda::all_lines.size()> queues_;
  std::array<bool, kernels::cuda::all_lines.size()> late_{};
};

}  // namespace annulus::test
