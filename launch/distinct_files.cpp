/// Two names of one file: equal once their folders are resolved, or the same file on disk.
// SPDX-License-Identifier: Apache-2.0
#include "launch/distinct_files.hpp"

#include <fmt/format.h>

#include <filesystem>

#include "kernels/base/error.hpp"

namespace annulus::launch {
namespace {

bool is_file(const NamedFile& file) { return !file.path.empty() && file.path != "-"; }

bool same_file(const std::string& a, const std::string& b) {
  std::error_code absent;
  if (std::filesystem::equivalent(a, b, absent)) return true;
  // absolute() first: a name whose first part does not exist yet would stay relative
  const auto resolved = [&](const std::string& path) { return std::filesystem::weakly_canonical(std::filesystem::absolute(path), absent); };
  return resolved(a) == resolved(b);
}

}  // namespace

void check_distinct(std::span<const NamedFile> files) {
  for (std::size_t i = 0; i < files.size(); ++i) {
    for (std::size_t j = i + 1; j < files.size(); ++j) {
      if (!is_file(files[i]) || !is_file(files[j]) || !same_file(files[i].path, files[j].path)) continue;
      throw UsageError(fmt::format("{} and {} are the same file '{}' (one would be lost); try another name",
                                   files[i].role, files[j].role, files[i].path));
    }
  }
}

}  // namespace annulus::launch
