/// Runs the interpreter without a shell.
// SPDX-License-Identifier: Apache-2.0
#include "launch/study/pictures.hpp"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include "runtime/checkpoint/manifest.hpp"
#include "runtime/checkpoint/replaced_file.hpp"

namespace annulus::launch {
namespace {

namespace fs = std::filesystem;

/// What report.py ends with.
enum class ScriptCode : int { disk = 4, done = 8, no_matplotlib = 9 };

struct Known {
  const char* name;
  const char* title;
  const char* caption;
};
constexpr std::array known_pictures{
    Known{"longest", "Longest context",
          "The longest sequence that fits the memory of a rank, against the number of ranks."},
    Known{"time", "Time", "Time against ranks. Bars span the samples."},
    Known{"efficiency", "Efficiency", "Rate per rank, relative to the smallest number of ranks of the same series."},
    Known{"layers", "Time per layer",
          "Mean time of a layer against ranks, by kind and direction, at the series with the most ranks "
          "(of several, the longest)."},
    Known{"lengths", "Ring against window layers",
          "Mean time of a global (ring) and a local (window) layer against the length, at "
          "the number of ranks with the most lengths (of several, the largest)."},
    Known{"exposed", "Exposed communication", "The share of the time in which the rank that waited most did so for data of others."},
    Known{"memory", "Memory per rank", "Peak of the largest rank; bars reach down to the smallest."}};

/// Beside the program as it is installed, or built: nothing here knows where that is.
std::string script_path() {
  std::error_code failure;
  const fs::path program = fs::read_symlink("/proc/self/exe", failure);
  return (program.parent_path() / ANNULUS_DATA_FROM_PROGRAM / "study_report" / "report.py").lexically_normal().string();
}

/// The exit code of `words`, 128 + the signal it died of; empty if there is no such program.
std::optional<int> run_program(std::vector<std::string> words) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t child = 0;
  const int failure = posix_spawnp(&child, arguments[0], nullptr, nullptr, arguments.data(), environ);
  if (failure == ENOENT || failure == EACCES || failure == ENOEXEC || failure == ENOTDIR) return std::nullopt;
  if (failure != 0) throw ResourceError(fmt::format("cannot start {} ({})", words[0], std::strerror(failure)));
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) throw ResourceError(fmt::format("cannot wait for {} ({})", words[0], std::strerror(errno)));
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// The user's own choice; empty if there is none.
std::string named_interpreter() {
  const char* const named = std::getenv("ANNULUS_PYTHON");
  return named == nullptr ? "" : named;
}

std::vector<std::string> interpreters() {
  if (const std::string named = named_interpreter(); !named.empty()) return {named};
  return {"python3", "/usr/bin/python3"};  // the first one on PATH may be a virtual environment without matplotlib
}

/// False if no interpreter has matplotlib.
bool run_script(const std::string& points, const std::string& folder) {
  const std::string script = script_path();
  std::error_code unreadable;
  if (!std::filesystem::exists(script, unreadable)) {
    throw ResourceError(fmt::format("cannot draw the pictures ('{}' is missing: the program was copied without what it was installed "
                                    "with); the tables are in '{}'",
                                    script, folder));
  }
  for (const std::string& python : interpreters()) {
    const auto code = run_program({python, "-B", script, points, folder});
    if (code == static_cast<int>(ScriptCode::done)) return true;
    if (!code || code == static_cast<int>(ScriptCode::no_matplotlib)) continue;
    const bool named = !named_interpreter().empty();
    const bool disk = code == static_cast<int>(ScriptCode::disk);
    throw Error(disk || named ? ExitCode::resources : ExitCode::internal,
                fmt::format("cannot draw the pictures ({} {} ended with code {}{}); the tables are in '{}'", python, script, *code,
                            named && !disk ? ": is ANNULUS_PYTHON a python3 with matplotlib?" : "", folder));
  }
  return false;
}

std::string file_of(const std::string& folder, const Known& picture, const char* extension) {
  return folder + "/" + picture.name + extension;
}

void remove_old(const std::string& folder) {
  for (const Known& picture : known_pictures) {
    for (const char* extension : {".svg", ".png"}) {
      std::error_code failure;
      fs::remove(file_of(folder, picture, extension), failure);
      if (failure)
        throw ResourceError(
            fmt::format("cannot remove '{}' ({})", file_of(folder, picture, extension), failure.message()));
    }
  }
}

std::vector<Picture> found_pictures(const std::string& folder) {
  std::vector<Picture> pictures;
  for (const Known& picture : known_pictures) {
    std::ifstream file(file_of(folder, picture, ".svg"), std::ios::binary);
    if (file) pictures.push_back({picture.title, picture.caption, {std::istreambuf_iterator<char>(file), {}}});
  }
  return pictures;
}

std::string no_pictures() {
  const std::string named = named_interpreter();
  return fmt::format(
      "No pictures: {}. Try apt-get install python3-matplotlib, or name an interpreter that has it in ANNULUS_PYTHON.",
      named.empty() ? "no python3 with matplotlib was found"
                    : fmt::format("ANNULUS_PYTHON names '{}', and that is no python3 with matplotlib",
                                  checkpoint::printable_line(named)));
}

}  // namespace

Drawing draw_study(const Study& study, const std::string& folder) {
  remove_old(folder);
  ReplacedFile points(folder + "/points.json");
  points.append(to_json(study).dump(1) + "\n");
  points.commit();
  if (run_script(points.path(), folder)) return {found_pictures(folder), {}};
  return {{}, no_pictures()};
}

}  // namespace annulus::launch
