/// Work in order, as late as events allow.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/emulated_lines.hpp"

#include <algorithm>
#include <utility>

namespace annulus::test {

void EmulatedLines::set_late(std::optional<Line> late) {
  for (const Line line : kernels::cuda::all_lines) finish(here(line));
  late_ = {};
  if (late) late_[static_cast<std::size_t>(*late)] = true;
}

void EmulatedLines::set_prompt(Line prompt) {
  set_late(std::nullopt);
  late_.fill(true);
  late_[static_cast<std::size_t>(prompt)] = false;
}

void EmulatedLines::enqueue(Line line, Work work) {
  queue(line).works.push_back(std::move(work));
  ++queue(line).told;
  if (!late_[static_cast<std::size_t>(line)]) finish(here(line));
}

void EmulatedLines::wait(Line line, Event event) {
  enqueue(line, [this, event] { finish(event); });
}

void EmulatedLines::finish(Event event) {
  Queue& line = queue(event.line);
  while (line.done < event.place) {
    const Work work = std::move(line.works.front());
    line.works.pop_front();
    ++line.done;  // first: a fault that `work` throws is told once
    work();
  }
}

bool EmulatedLines::idle() const {
  return std::ranges::all_of(queues_, [](const Queue& line) { return line.works.empty(); });
}

}  // namespace annulus::test
