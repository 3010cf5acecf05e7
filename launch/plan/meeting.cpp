/// Words for people, steps by the schedule that the ring itself follows.
// SPDX-License-Identifier: Apache-2.0
#include "launch/plan/meeting.hpp"

#include <fmt/format.h>

#include "runtime/layout/ring_schedule.hpp"

namespace annulus::launch {
namespace {

std::string ring_text(int group_size, int ranks) {
  if (group_size == 1) return "a flat ring";
  if (group_size == ranks) return "all blocks read in place";
  return fmt::format("a ring of groups of {} ranks, blocks read in place within each", group_size);
}

}  // namespace

int step_of(int rank, int owner, int ranks, int group_size) {
  const RingSchedule ring(rank, ranks, group_size);
  int step = 0;
  while (ring.owner_at(step) != owner) ++step;
  return step;
}

std::string describe(const Meeting& meeting, int ranks) {
  if (ranks == 1) return "one rank: nothing travels";
  if (meeting.route == Route::halo) return "no ring: every rank holds what it sees of others as a halo";
  if (meeting.route == Route::direct) return "no ring: what a rank sees of others comes straight from its owners";
  return fmt::format("exchange {}: {}", name(meeting.exchange), ring_text(meeting.group_size, ranks));
}

}  // namespace annulus::launch
