/// Core counts from the scheduler's affinity mask, so that ranks of one node never oversubscribe it.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/placement.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

namespace annulus {
namespace {

cpu_set_t affinity() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) CPU_SET(0, &mask);  // more cores than cpu_set_t holds: assume one
  return mask;
}

}  // namespace

int usable_cores() {
  const cpu_set_t mask = affinity();
  return std::max(1, CPU_COUNT(&mask));
}

bool threads_allowed() {
  int level = MPI_THREAD_SINGLE;
  check_mpi(MPI_Query_thread(&level), "ask for the thread level");
  return level >= MPI_THREAD_FUNNELED;
}

int fair_threads(const Communicator& node) {
  const cpu_set_t mask = affinity();
  const std::string_view bits(reinterpret_cast<const char*>(&mask), sizeof mask);
  const std::uint64_t mine = std::hash<std::string_view>{}(bits);
  const auto masks = node.all_gather(mine);
  const auto sharers = std::count(masks.begin(), masks.end(), mine);
  return threads_allowed() ? std::max(1, usable_cores() / static_cast<int>(sharers)) : 1;
}

std::string host_name() {
  std::array<char, 256> text{};
  return gethostname(text.data(), text.size() - 1) == 0 ? text.data() : "unknown host";
}

}  // namespace annulus
