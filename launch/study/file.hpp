/// The results of a scaling study: one file of JSON lines, a header and one measured point per line.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/checkpoint/folder_lock.hpp"

namespace annulus::launch {

/// What a configuration is filed under: 16 hex digits, xxh64 of the point as JSON with its keys in order. Local.
std::string study_key(const nlohmann::json& point);

/// What a file holds. A later line of the same key replaces an earlier one.
struct StudyContent {
  nlohmann::json header;
  std::vector<nlohmann::json> records;  ///< in the order of the file; objects with a string "key" and an object "point"
  std::size_t whole_bytes = 0;          ///< of the lines above; what follows is a torn last line
  std::string note;                     ///< says what was torn; empty if nothing
};

/// Reads without changing or locking anything. Throws InputError if there is no such file, if it is no study, or if a
/// line before the last one is damaged. Local.
StudyContent read_study(const std::string& path);

/// A study that grows. A line is on the disk when append() returns, and a crash costs the line in hand at most.
/// One rank owns it; all calls are local. One study at a time: a lock is held on .NAME.lock in the file's folder.
class StudyFile {
 public:
  /// Opens the file or starts a new one. `header` names at least "study" and "machine" with its "fingerprint"; format
  /// and version of the program are added. Throws InputError if what is there is no study, or one of another format,
  /// program, machine or kind: nothing is changed then. Throws ResourceError if the folder cannot be written or another
  /// study holds the file.
  StudyFile(std::string path, nlohmann::json header);

  /// What a crash had left behind and was cut off; empty if nothing.
  const std::string& note() const { return content_.note; }
  const nlohmann::json& header() const { return content_.header; }
  std::size_t size() const { return places_.size(); }
  bool has(const std::string& key) const { return places_.contains(key); }
  /// All lines, earlier ones of a key, too.
  const std::vector<nlohmann::json>& records() const { return content_.records; }
  /// Null if there is none; good until the next append().
  const nlohmann::json* find(const std::string& key) const;

  /// `record` has a "key" and a "point". Throws ResourceError if the disk does not take the whole line; the file then
  /// ends as it did before.
  void append(nlohmann::json record);

 private:
  void start(nlohmann::json header, std::size_t torn_bytes);
  void resume(const nlohmann::json& header);
  void write_line(const nlohmann::json& line);
  [[noreturn]] void refuse_write(int error) const;

  std::string path_;
  checkpoint::FileLock lock_;
  checkpoint::Descriptor descriptor_;
  StudyContent content_;
  std::map<std::string, std::size_t> places_;  ///< key -> index of its record
};

}  // namespace annulus::launch
