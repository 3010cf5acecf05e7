/// /proc/cpuinfo, and what the ranks may use.
// SPDX-License-Identifier: Apache-2.0
#include "launch/machine_name.hpp"

#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <fstream>
#include <map>

namespace annulus::launch {
namespace {

/// The first line of a file; empty if there is none.
std::string line_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::uint64_t node_memory_bytes() {
  const long pages = sysconf(_SC_PHYS_PAGES);
  const long page_bytes = sysconf(_SC_PAGESIZE);
  return pages > 0 && page_bytes > 0 ? static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page_bytes) : 0;
}

}  // namespace

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  utsname system{};
  return uname(&system) == 0 ? system.machine : "unknown";
}

int node_cores() { return static_cast<int>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN))); }

std::uint64_t built_in_gib(std::uint64_t bytes) {
  const std::uint64_t gib = std::max<std::uint64_t>(1, ((bytes - 1) >> 30U) + 1);
  const std::uint64_t above = std::bit_ceil(gib);
  return above >= 4 && gib <= above / 4 * 3 ? above / 4 * 3 : above;
}

std::string cache_sizes(const std::filesystem::path& folder) {
  std::map<std::string, std::string> sizes;
  for (int index = 0; index < 8; ++index) {
    const std::filesystem::path one = folder / fmt::format("index{}", index);
    const std::string size = line_in(one / "size");
    if (!size.empty() && line_in(one / "type") != "Instruction") sizes[line_in(one / "level")] = size;
  }
  std::string text;
  for (const auto& [level, size] : sizes) text += " " + size;
  return text;
}

std::string node_text() {
  std::string text = fmt::format("{} cores", node_cores());
  if (const std::uint64_t bytes = node_memory_bytes(); bytes > 0) text += fmt::format(", {} GiB", built_in_gib(bytes));
  const std::string caches = cache_sizes("/sys/devices/system/cpu/cpu0/cache");
  return caches.empty() ? text : text + ", caches" + caches;
}

}  // namespace annulus::launch
