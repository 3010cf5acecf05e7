/// Temporary names, renames and syncs, in the order that survives a crash between any two of them.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/generation_folder.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>

#include "kernels/base/error.hpp"
#include "runtime/checkpoint/data_file.hpp"
#include "runtime/checkpoint/replaced_file.hpp"

namespace annulus::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view prefix = "step-";
constexpr std::string_view replaced_suffix = ".old";  ///< a generation on its way out, still good
constexpr std::string_view leftover_prefix = ".tmp-";
constexpr std::uint64_t longest_manifest = std::uint64_t{256} << 20;  // 8 million granules: 100 TB of data

[[noreturn]] void refuse(const std::string& doing, const std::string& path, const std::string& reason) {
  throw ResourceError("cannot " + doing + " '" + path + "' (" + reason + "); try another folder");
}

/// The step in "step-000012" or "step-000012.old".
std::optional<std::int64_t> step_of(std::string_view name) {
  if (!name.starts_with(prefix)) return std::nullopt;
  std::string_view digits = name.substr(prefix.size());
  if (digits.ends_with(replaced_suffix)) digits.remove_suffix(replaced_suffix.size());
  std::int64_t step = 0;
  const auto [rest, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  const bool whole = failure == std::errc{} && rest == digits.data() + digits.size() && step >= 0;
  return whole && digits.size() >= 6 ? std::optional(step) : std::nullopt;
}

std::string last_part(const std::string& path) {
  const std::string trimmed = path.substr(0, path.find_last_not_of('/') + 1);
  return trimmed.substr(trimmed.find_last_of('/') + 1);
}

std::string read_manifest(const std::string& path) {
  const DataFile file = DataFile::open_to_read(path);
  const std::uint64_t bytes = file.bytes();
  if (bytes > longest_manifest) throw InputError("'" + path + "' is no manifest (longer than 256 MiB)");
  std::string text(bytes, '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

void check_data_size(const std::string& path, const Manifest& manifest) {
  const std::uint64_t bytes = DataFile::open_to_read(path).bytes();
  if (bytes != manifest.file_bytes) {
    throw InputError(fmt::format("'{}' has {} bytes, its manifest says {}", path, bytes, manifest.file_bytes));
  }
}

std::vector<std::string> names_in(const std::string& folder) {
  std::error_code failure;
  std::vector<std::string> names;
  fs::directory_iterator entry(folder, failure);
  for (; !failure && entry != fs::directory_iterator(); entry.increment(failure)) {
    names.push_back(entry->path().filename().string());
  }
  if (failure)
    throw InputError("cannot list '" + folder + "' (" + failure.message() + "); try the folder of a checkpoint");
  return names;
}

/// Complete ones behind the others, the newest first.
bool goes_before(const FoundGeneration& a, const FoundGeneration& b) {
  if (a.manifest.has_value() != b.manifest.has_value()) return b.manifest.has_value();
  if (a.manifest && a.manifest->sequence != b.manifest->sequence) return a.manifest->sequence > b.manifest->sequence;
  return a.step != b.step ? a.step > b.step : a.path < b.path;
}

bool exists(const std::string& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0;
}

void remove_folder(const std::string& path) {
  std::error_code failure;
  fs::remove_all(path, failure);
  if (failure) refuse("remove", path, failure.message());
}

/// Whether a generation of the same step has come after it.
bool is_replaced(const std::string& path) {
  return path.ends_with(replaced_suffix) && exists(path.substr(0, path.size() - replaced_suffix.size()));
}

void rename_folder(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) != 0) refuse("rename to '" + to + "' the folder", from, std::strerror(errno));
}

/// A new name for each call, and one that no other job on this host has.
std::string temporary_name(const std::string& folder, const std::string& name) {
  static int count = 0;
  return fmt::format("{}/{}{}.{}-{}", folder, leftover_prefix, name, getpid(), ++count);
}

/// Out of sight first: a removal that is cut short leaves no half generation under a good name.
void remove_generation(const std::string& folder, const std::string& path) {
  const std::string doomed = temporary_name(folder, last_part(path));
  rename_folder(path, doomed);
  remove_folder(doomed);
}

}  // namespace

std::string generation_name(std::int64_t step) { return fmt::format("{}{:06}", prefix, step); }

bool is_generation_path(const std::string& path) { return step_of(last_part(path)).has_value(); }

FoundGeneration inspect_generation(const std::string& path) {
  FoundGeneration found{path, step_of(last_part(path)).value_or(0), {}, {}, std::nullopt};
  try {
    const std::string manifest_path = path + "/" + manifest_name;
    found.manifest_text = read_manifest(manifest_path);
    Manifest manifest = parse_manifest(found.manifest_text, manifest_path);
    if (manifest.step != found.step) {
      throw InputError(fmt::format("'{}' is the manifest of step {}", manifest_path, manifest.step));
    }
    check_data_size(path + "/" + data_name, manifest);
    found.manifest = std::move(manifest);
  } catch (const Error& error) {
    found.problem = error.what();
  }
  return found;
}

std::vector<FoundGeneration> find_generations(const std::string& folder) {
  std::vector<FoundGeneration> found;
  for (const std::string& name : names_in(folder)) {
    if (step_of(name)) found.push_back(inspect_generation(folder + "/" + name));
  }
  std::sort(found.begin(), found.end(), goes_before);
  return found;
}

std::vector<std::string> find_leftovers(const std::string& folder) {
  std::vector<std::string> found;
  for (const std::string& name : names_in(folder)) {
    if (name.starts_with(std::string(leftover_prefix) + std::string(prefix))) found.push_back(folder + "/" + name);
  }
  return found;
}

void make_folder(const std::string& folder) {
  if (mkdir(folder.c_str(), 0777) == 0) return sync_folder_of(folder);
  if (errno != EEXIST) refuse("make the folder", folder, std::strerror(errno));
  std::error_code failure;
  if (!fs::is_directory(folder, failure)) refuse("save to", folder, "it is no folder");
}

NewGeneration::NewGeneration(const std::string& folder, std::int64_t step)
    : folder_(folder),
      path_(temporary_name(folder, generation_name(step))),
      published_(folder + "/" + generation_name(step)) {
  while (mkdir(path_.c_str(), 0777) != 0) {
    if (errno != EEXIST) refuse("make the folder", path_, std::strerror(errno));
    path_ = temporary_name(folder, generation_name(step));  // of another host's job, where there is no lock
  }
}

NewGeneration::~NewGeneration() {
  std::error_code ignored;  // what is left has a temporary name, and the next job removes it
  fs::remove_all(path_, ignored);
}

void NewGeneration::publish(const Manifest& manifest) {
  ReplacedFile file(path_ + "/" + manifest_name);
  file.append(to_text(manifest));
  file.commit();
  if (exists(published_)) {
    // A folder with entries cannot be renamed over. Between the two renames the old one is found by its other name.
    const std::string replaced = published_ + std::string(replaced_suffix);
    if (exists(replaced)) remove_generation(folder_, replaced);
    rename_folder(published_, replaced);
  }
  rename_folder(path_, published_);
  sync_folder_of(published_);
}

std::vector<std::string> prune_generations(const std::string& folder, std::int64_t keep) {
  std::vector<std::string> pruned;
  for (const FoundGeneration& found : find_generations(folder)) {
    if (!is_replaced(found.path) && (!found.manifest || keep-- > 0)) continue;
    remove_generation(folder, found.path);
    pruned.push_back(found.path);
  }
  return pruned;
}

void remove_leftovers(const std::string& folder) {
  for (const std::string& path : find_leftovers(folder)) remove_folder(path);
}

}  // namespace annulus::checkpoint
