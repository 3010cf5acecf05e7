/// flock, with a record of the holder for the message that refuses others.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/folder_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "kernels/base/error.hpp"

namespace annulus::checkpoint {
namespace {

/// Ranks outlive a killed mpirun by up to 1.7 s (measured with Open MPI 4.1), and the next job may start at once.
constexpr auto patience = std::chrono::seconds(3);

/// 0, or the error that flock ended with.
int lock_patiently(int descriptor) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK || std::chrono::steady_clock::now() > deadline) return errno;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return 0;
}

std::string own_record() {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host[0] = '?';
  return "process " + std::to_string(getpid()) + " on " + host.data() + "\n";
}

std::string record_in(int descriptor) {
  std::array<char, 320> text{};
  const ssize_t bytes = pread(descriptor, text.data(), text.size() - 1, 0);
  const std::string record(text.data(), bytes > 0 ? static_cast<std::size_t>(bytes) : 0);
  return record.empty() ? "another job" : record.substr(0, record.find('\n'));
}

}  // namespace

FileLock::FileLock(const std::string& path, const LockRefusal& refusal) {
  descriptor_ = Descriptor(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666));
  const int raw = descriptor_.get();
  if (raw < 0) throw ResourceError("cannot write '" + path + "' (" + std::strerror(errno) + "); try another folder");
  const int failure = lock_patiently(raw);
  if (failure == EWOULDBLOCK) {
    throw ResourceError(refusal.problem + " (" + record_in(raw) + " " + refusal.does + "); try " + refusal.instead +
                        ", or wait for its end");
  }
  held_ = failure == 0;
  const std::string record = own_record();
  // for the message above alone: a record that cannot be written (a full disk) is no reason to refuse
  if (held_ && ftruncate(raw, 0) == 0) static_cast<void>(!pwrite(raw, record.data(), record.size(), 0));
}

FolderLock::FolderLock(const std::string& folder)
    : FileLock(folder + "/.lock", {"cannot save to '" + folder + "'", "is saving there", "another folder"}) {}

}  // namespace annulus::checkpoint
