/// No command reads and writes, or writes twice, one file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace annulus::launch {

/// A file that a command reads or writes; an empty path or "-" (standard output) is none.
struct NamedFile {
  std::string_view role;  ///< "the input", "--report": as messages name it
  std::string path;
};

/// Throws UsageError if two of the names mean one file, also through links and before the file exists. Local, the same on
/// ranks that see the same files.
void check_distinct(std::span<const NamedFile> files);

}  // namespace annulus::launch
