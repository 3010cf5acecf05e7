/// Finds out whether a person watches.
// SPDX-License-Identifier: Apache-2.0
#include "launch/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <system_error>

#include "runtime/comm/session.hpp"

namespace annulus::launch {
namespace {

/// mpirun gives its ranks pipes, so a rank's own stderr says nothing: ask what the launcher, its parent, writes to.
bool launcher_has_terminal() {
  std::error_code unknown;
  const std::string target =
      std::filesystem::read_symlink(fmt::format("/proc/{}/fd/{}", getppid(), STDERR_FILENO), unknown).string();
  return target.starts_with("/dev/pts/") || target.starts_with("/dev/tty");
}

bool person_watches() { return launched_by_mpi() ? launcher_has_terminal() : isatty(STDERR_FILENO) == 1; }

}  // namespace

ProgressLine::ProgressLine(const Communicator& world) : watched_(world.rank() == 0 && person_watches()) {}

ProgressLine::~ProgressLine() {
  if (dirty_) fmt::print(stderr, "\r\033[K");
}

void ProgressLine::show(std::string_view text) {
  const auto now = std::chrono::steady_clock::now();
  if (!watched_ || now < next_) return;
  next_ = now + std::chrono::milliseconds(100);
  dirty_ = true;
  fmt::print(stderr, "\r{}\033[K", text);
  std::fflush(stderr);
}

}  // namespace annulus::launch
