/// Reads /proc and the control groups; decides before the kernel's out-of-memory killer would.
// SPDX-License-Identifier: Apache-2.0
#include "launch/memory.hpp"

#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>
#include <optional>
#include <sstream>

#include "runtime/comm/agreement.hpp"
#include "runtime/comm/shared_window.hpp"

namespace annulus::launch {
namespace {

constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();

/// The number after `key` ("VmHWM:" or "inactive_file") in a file of "key value" lines, 0 if there is none.
std::uint64_t value_of(const std::string& path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string word;
    std::uint64_t value = 0;
    if (words >> word >> value && word == key) return value;
  }
  return 0;
}

std::uint64_t kib_of(const std::string& path, std::string_view key) { return value_of(path, key) * 1024; }

/// A file that holds one number; empty if it is absent or says "max".
std::optional<std::uint64_t> number_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  return file >> value ? std::optional(value) : std::nullopt;
}

/// Where one version of the control groups keeps its numbers.
struct GroupFiles {
  const char* root;
  const char* limit;
  const char* usage;
  const char* cache;  ///< key in memory.stat: page cache that the kernel gives back under pressure
};
constexpr GroupFiles version_1{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                               "total_inactive_file"};
constexpr GroupFiles version_2{"/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"};

std::uint64_t room_in_folder(const GroupFiles& files, const std::filesystem::path& folder) {
  const auto limit = number_in(folder / files.limit);
  const auto usage = number_in(folder / files.usage);
  if (!limit || !usage) return unlimited;
  const std::uint64_t used = *usage - std::min(*usage, value_of((folder / "memory.stat").string(), files.cache));
  return *limit - std::min(*limit, used);
}

/// The least room from a group up to the root. Inside a container the group's path may not exist below the mount; the
/// mount's own root is then the container's group.
std::uint64_t room_in_group(const GroupFiles& files, const std::string& group) {
  std::uint64_t room = room_in_folder(files, files.root);
  for (std::filesystem::path path = group; path.has_relative_path(); path = path.parent_path()) {
    room = std::min(room, room_in_folder(files, std::filesystem::path(files.root) / path.relative_path()));
  }
  return room;
}

/// /proc/self/cgroup: "4:memory:/path" (version 1), "0::/path" (version 2).
std::uint64_t room_in_groups() {
  std::uint64_t room = unlimited;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const auto controllers = line.find(':');
    const auto path = line.find(':', controllers + 1);
    if (controllers == std::string::npos || path == std::string::npos) continue;
    const std::string names = line.substr(controllers + 1, path - controllers - 1);
    if (names.empty()) room = std::min(room, room_in_group(version_2, line.substr(path + 1)));
    if (names == "memory") room = std::min(room, room_in_group(version_1, line.substr(path + 1)));
  }
  return room;
}

/// Private memory and windows, now. Kernels without smaps_rollup have a counter alone.
std::uint64_t held_bytes() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
  const std::uint64_t walked = kib_of("/proc/self/smaps_rollup", "Anonymous:");
  return (walked > 0 ? walked : kib_of("/proc/self/status", "RssAnon:")) + resident_window_bytes();
}

/// How far the system's peak may be above what is held: its three counters of pages are off by a batch on each CPU
/// (lib/percpu_counter.c), and the allocator keeps some of what was freed.
std::uint64_t peak_slack() {
  constexpr std::uint64_t kept_by_allocator = std::uint64_t{1} << 20;
  const auto cpus = static_cast<std::uint64_t>(sysconf(_SC_NPROCESSORS_CONF));
  const std::uint64_t batch = std::max<std::uint64_t>(32, 2 * cpus);
  return kept_by_allocator + 3 * batch * cpus * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

std::uint64_t saturated_sum(const std::vector<std::uint64_t>& values) {
  return std::accumulate(values.begin(), values.end(), std::uint64_t{0}, [](std::uint64_t sum, std::uint64_t value) {
    return value > unlimited - sum ? unlimited : sum + value;
  });
}

}  // namespace

std::uint64_t peak_private_bytes() {
  const std::string status = "/proc/self/status";
  const std::uint64_t peak = kib_of(status, "VmHWM:");
  return peak - std::min(peak, kib_of(status, "RssFile:") + kib_of(status, "RssShmem:"));
}

std::vector<std::uint64_t> peak_rss_of_ranks(const Communicator& world) {
  const Communicator node = world.node();
  std::array<std::uint64_t, 1> shared{kib_of("/proc/self/smaps_rollup", "Pss_Shmem:")};
  node.sum(shared);
  return world.all_gather(peak_private_bytes() + shared[0] / static_cast<std::uint64_t>(node.size()));
}

MemoryWatch::MemoryWatch() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_THRESHOLD, 128 * 1024);  // else it grows with what is freed, and freed buffers stay with the process
#endif
  held_ = seen_ = held_bytes();
  std::ofstream peak("/proc/self/clear_refs");
  peak_is_new_ = static_cast<bool>(peak << "5" << std::flush);
}

void MemoryWatch::look() { seen_ = std::max(seen_, held_bytes()); }

std::uint64_t MemoryWatch::most_bytes() const {
  const std::uint64_t counted = peak_is_new_ ? peak_private_bytes() + resident_window_bytes() : 0;
  const bool is_beyond = counted > seen_ && counted - seen_ > peak_slack();
  return (is_beyond ? counted : seen_) - held_;
}

std::uint64_t available_memory() {
  const std::uint64_t available = kib_of("/proc/meminfo", "MemAvailable:");
  return std::min(available == 0 ? unlimited : available, room_in_groups());
}

void check_memory(const Communicator& world, std::uint64_t bytes, std::string_view what) {
  const Communicator node = world.node();
  const std::uint64_t planned = saturated_sum(node.all_gather(bytes));
  std::array<std::uint64_t, 1> room{available_memory()};
  node.min(room);
  std::array<std::uint64_t, 1> largest{bytes};
  world.max(largest);
  together(world, [&] {
    if (planned <= room[0]) return;
    throw ResourceError(
        fmt::format("{} needs {} bytes per rank ({} on this node of {} ranks, which has {}); "
                    "try more nodes, a shorter sequence or a smaller type",
                    what, largest[0], bytes_text(static_cast<double>(planned)), node.size(),
                    bytes_text(static_cast<double>(room[0]))));
  });
}

std::string bytes_text(double bytes) {
  constexpr std::array units{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  std::size_t unit = 0;
  for (; bytes >= 1024 && unit + 1 < units.size(); ++unit) bytes /= 1024;
  return fmt::format("{:.{}f} {}", bytes, unit == 0 ? 0 : 1, units[unit]);
}

}  // namespace annulus::launch
