/// Lines that are whole or cut off, keyed by what they measured.
// SPDX-License-Identifier: Apache-2.0
#include "launch/study/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <annulus/version.hpp>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <span>

#include "kernels/base/checked.hpp"
#include "runtime/checkpoint/checksum.hpp"
#include "runtime/checkpoint/manifest.hpp"
#include "runtime/checkpoint/replaced_file.hpp"

namespace annulus::launch {
namespace {

using checkpoint::Descriptor;
using nlohmann::json;

constexpr const char* format_name = "annulus-study";
constexpr int format_version = 1;

std::string lock_path(const std::string& path) {
  const std::filesystem::path file(path);
  return (file.parent_path() / ("." + file.filename().string() + ".lock")).string();
}

/// Throws InputError unless `descriptor` is a regular file, whose bytes it returns.
std::string content_of(int descriptor, const std::string& path) {
  struct stat status {};
  if (fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    throw InputError(fmt::format("'{}' is no regular file (results are a file of lines); try another name", path));
  }
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  for (std::size_t have = 0; have < text.size();) {
    const ssize_t bytes = pread(descriptor, text.data() + have, text.size() - have, static_cast<off_t>(have));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) throw InputError(fmt::format("cannot read '{}' ({})", path, std::strerror(errno)));
    if (bytes == 0) text.resize(have);
    have += static_cast<std::size_t>(bytes);
  }
  return text;
}

json parsed(std::string_view line) { return json::parse(line, nullptr, false); }

/// The value at a JSON pointer, as a person would write it; "none" if there is none.
std::string text_at(const json& header, const char* place) {
  const json::json_pointer pointer(place);
  if (!header.is_object() || !header.contains(pointer)) return "none";
  const json& value = header.at(pointer);
  const std::string text =
      value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', true, json::error_handler_t::replace);
  return checkpoint::printable_line(text);
}

bool is_study_header(const json& line) { return text_at(line, "/format") == format_name; }

/// All that a study leaves which ends while it writes its first line. Keys are in order, so that begins with the format.
bool is_torn_header(std::string_view text) {
  const std::string begin = fmt::format("{{\"format\":\"{}\"", format_name);
  return text.find('\n') == std::string_view::npos && (text.starts_with(begin) || std::string_view(begin).starts_with(text));
}

bool is_record(const json& line) {
  return line.is_object() && line.contains("key") && line["key"].is_string() && line.contains("point") &&
         line["point"].is_object();
}

[[noreturn]] void refuse_stranger(const std::string& path) {
  throw InputError(fmt::format(
      "'{}' holds no results of annulus study (its first line is no header of them); try another file", path));
}

void check_format(const json& header, const std::string& path) {
  const std::string found = text_at(header, "/format_version");
  if (found == std::to_string(format_version)) return;
  throw InputError(
      fmt::format("'{}' has results of format version {} (this program reads and writes version {}); try another file",
                  path, found, format_version));
}

/// Appends the records of `lines`, which are whole but perhaps the last one. Throws InputError.
void read_records(std::string_view lines, const std::string& path, StudyContent& content) {
  for (std::size_t number = 2; !lines.empty(); ++number) {
    const std::size_t end = lines.find('\n');
    const bool is_last = end == std::string_view::npos || end + 1 == lines.size();
    json record = end == std::string_view::npos ? json(json::value_t::discarded) : parsed(lines.substr(0, end));
    if (is_record(record)) {
      content.records.push_back(std::move(record));
      content.whole_bytes += end + 1;
      lines.remove_prefix(end + 1);
      continue;
    }
    if (!is_last) {
      throw InputError(
          fmt::format("line {} of '{}' is damaged (it is no measured point, and others follow); try another file, or "
                      "remove that line",
                      number, path));
    }
    content.note = fmt::format(
        "the last line of '{}' was torn (line {}, {} bytes: a study ended while it wrote); its point is "
        "measured again",
        path, number, lines.size());
    return;
  }
}

StudyContent content_from(const std::string& text, const std::string& path) {
  const std::size_t end = text.find('\n');
  if (end == std::string::npos) refuse_stranger(path);
  StudyContent content{parsed(std::string_view(text).substr(0, end)), {}, end + 1, {}};
  if (!is_study_header(content.header)) refuse_stranger(path);
  check_format(content.header, path);
  read_records(std::string_view(text).substr(end + 1), path, content);
  return content;
}

/// What two headers must share, and how a message calls it.
struct Shared {
  const char* place;
  const char* name;
  const char* reason;
};
constexpr std::array shared{Shared{"/version", "annulus", "numbers of two programs do not compare"},
                            Shared{"/machine/fingerprint", "machine", "numbers of two machines do not compare"},
                            Shared{"/study", "study", "one file holds one kind of study"}};

void check_same_study(const json& found, const json& wanted, const std::string& path) {
  for (const Shared& item : shared) {
    const std::string theirs = text_at(found, item.place);
    const std::string ours = text_at(wanted, item.place);
    if (theirs == ours) continue;
    throw InputError(fmt::format("'{}' has results of {} '{}', not of '{}' ({}); try another file", path, item.name,
                                 theirs, ours, item.reason));
  }
}

}  // namespace

std::string study_key(const json& point) {
  const std::string canonical = point.dump();
  return checkpoint::hex(checkpoint::checksum_of(std::as_bytes(std::span(canonical))));
}

StudyContent read_study(const std::string& path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) throw InputError(fmt::format("cannot read '{}' ({})", path, std::strerror(errno)));
  return content_from(content_of(file.get(), path), path);
}

StudyFile::StudyFile(std::string path, json header)
    : path_(std::move(path)),
      lock_(lock_path(path_), {fmt::format("cannot add to '{}'", path_), "holds it for a study", "another file"}),
      descriptor_(open(path_.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666)) {
  if (descriptor_.get() < 0) refuse_write(errno);
  header["format"] = format_name;
  header["format_version"] = format_version;
  header["version"] = ANNULUS_VERSION;
  const std::string text = content_of(descriptor_.get(), path_);
  if (text.empty() || is_torn_header(text)) {
    start(std::move(header), text.size());
  } else {
    content_ = content_from(text, path_);
    resume(header);
  }
}

void StudyFile::start(json header, std::size_t torn_bytes) {
  if (torn_bytes > 0) {
    if (ftruncate(descriptor_.get(), 0) != 0) refuse_write(errno);
    content_.note = fmt::format("the first line of '{}' was torn ({} bytes: a study ended while it wrote); it is begun anew",
                                path_, torn_bytes);
  }
  write_line(header);
  sync_folder_of(path_);
  content_.header = std::move(header);
}

void StudyFile::resume(const json& header) {
  check_same_study(content_.header, header, path_);
  const auto whole = static_cast<off_t>(content_.whole_bytes);
  if (!content_.note.empty() && ftruncate(descriptor_.get(), whole) != 0) refuse_write(errno);
  for (std::size_t i = 0; i < content_.records.size(); ++i) places_[content_.records[i]["key"]] = i;
}

const json* StudyFile::find(const std::string& key) const {
  const auto place = places_.find(key);
  return place == places_.end() ? nullptr : &content_.records[place->second];
}

void StudyFile::append(json record) {
  ANNULUS_EXPECT(is_record(record));
  write_line(record);
  places_[record["key"]] = content_.records.size();
  content_.records.push_back(std::move(record));
}

void StudyFile::write_line(const json& line) {
  const std::string text = line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  ssize_t written = -1;
  do {
    written = write(descriptor_.get(), text.data(), text.size());
  } while (written < 0 && errno == EINTR);
  int error = written < 0 ? errno : 0;
  // a disk that takes a part of a line is full
  if (error == 0 && static_cast<std::size_t>(written) < text.size()) error = ENOSPC;
  if (error == 0 && fsync(descriptor_.get()) != 0) error = errno;
  if (error == 0) {
    content_.whole_bytes += text.size();
    return;
  }
  // what cannot be cut off either is a torn line, for the next one that opens the file
  static_cast<void>(!ftruncate(descriptor_.get(), static_cast<off_t>(content_.whole_bytes)));
  refuse_write(error);
}

void StudyFile::refuse_write(int error) const {
  throw ResourceError(fmt::format("cannot write '{}' ({}); try another folder", path_, std::strerror(error)));
}

}  // namespace annulus::launch
