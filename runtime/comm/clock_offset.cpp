/// Questions and answers, one at a time.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/clock_offset.hpp"

#include <limits>
#include <span>

namespace annulus {
namespace {

constexpr int tag = 91;
constexpr int tries = 16;

void send_time(const Communicator& world, std::int64_t time, int to) {
  world.send(std::as_bytes(std::span(&time, 1)), to, tag);
}

std::int64_t receive_time(const Communicator& world, int from) {
  std::int64_t time = 0;
  world.receive(std::as_writable_bytes(std::span(&time, 1)), from, tag);
  return time;
}

std::int64_t ask(const Communicator& world, int rank, const std::function<std::int64_t()>& now) {
  std::int64_t offset = 0;
  std::int64_t fastest = std::numeric_limits<std::int64_t>::max();
  for (int i = 0; i < tries; ++i) {
    const std::int64_t asked = now();
    send_time(world, asked, rank);
    const std::int64_t theirs = receive_time(world, rank);
    const std::int64_t trip = now() - asked;
    if (trip >= fastest) continue;
    fastest = trip;
    offset = asked + trip / 2 - theirs;
  }
  send_time(world, offset, rank);
  return offset;
}

std::int64_t answer(const Communicator& world, const std::function<std::int64_t()>& now) {
  for (int i = 0; i < tries; ++i) {
    (void)receive_time(world, 0);
    send_time(world, now(), 0);
  }
  return receive_time(world, 0);
}

}  // namespace

std::int64_t clock_offset(const Communicator& world, int rank, const std::function<std::int64_t()>& now) {
  return world.rank() == 0 ? ask(world, rank, now) : answer(world, now);
}

}  // namespace annulus
