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

/// The ranks of the node, this one included, that may use exactly the cores of this one.
int sharers(const Communicator& node) {
  const cpu_set_t mask = affinity();
  const std::string_view bits(reinterpret_cast<const char*>(&mask), sizeof mask);
  const std::uint64_t mine = std::hash<std::string_view>{}(bits);
  const auto masks = node.all_gather(mine);
  return static_cast<int>(std::count(masks.begin(), masks.end(), mine));
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
  const int share = usable_cores() / sharers(node);
  return threads_allowed() ? std::max(1, share) : 1;
}

bool cores_suffice(const Communicator& node, int threads) { return usable_cores() / sharers(node) >= threads; }

std::string host_name() {
  std::array<char, 256> text{};
  return gethostname(text.data(), text.size() - 1) == 0 ? text.data() : "unknown host";
}

}  // namespace annulus
