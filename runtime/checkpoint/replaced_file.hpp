/// A file that replaces another one only when it is complete: temporary name, fsync, rename.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace annulus {

/// fsync of the folder that holds `path`: without it a new name may be lost with the power. Throws ResourceError.
/// Local.
void sync_folder_of(const std::string& path);

/// Creates PATH.tmp.<unique> in PATH's folder (exclusively, so two jobs never share one) and renames it over PATH on
/// commit(); the destructor removes what was not committed. Throws ResourceError with the path and the
/// reason; so for links (a rename would replace the link itself) and for the file that this program prints into. Local.
class ReplacedFile {
 public:
  explicit ReplacedFile(std::string path);
  ~ReplacedFile();
  ReplacedFile(const ReplacedFile&) = delete;
  ReplacedFile& operator=(const ReplacedFile&) = delete;

  const std::string& path() const { return path_; }
  const std::string& temporary() const { return temporary_; }

  /// Reserves disk space, so that a full disk is found before data are written.
  void reserve(std::uint64_t bytes) const;
  void append(std::string_view text) const;
  /// fsync, rename, fsync of the folder: rename alone is atomic but not durable.
  void commit();

 private:
  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
};

}  // namespace annulus
