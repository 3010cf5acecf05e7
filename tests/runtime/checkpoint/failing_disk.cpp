/// Symbols of the executable come before those of libc: every room's calls pass through here.
// SPDX-License-Identifier: Apache-2.0
#include "tests/runtime/checkpoint/failing_disk.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>

namespace {

std::string watched;
int first_failure = 0;
annulus::test::Fault kind{};
int calls = 0;
bool failed = false;
bool cannot_reserve = false;

bool is_watched(const char* path) { return !watched.empty() && std::string(path).starts_with(watched); }
bool is_watched(int descriptor) {
  if (watched.empty()) return false;
  std::array<char, 4096> path{};
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  return readlink(link.c_str(), path.data(), path.size() - 1) > 0 && is_watched(path.data());
}

/// Counts a call; true if it is to fail.
template <class File>
bool fails(File file) {
  if (kind == annulus::test::Fault::lie || !is_watched(file) || ++calls < first_failure) return false;
  if (calls > first_failure && kind == annulus::test::Fault::once) return false;
  failed = true;
  errno = ENOSPC;
  return true;
}

bool lies(int file) {
  if (kind != annulus::test::Fault::lie || !is_watched(file) || ++calls != first_failure) return false;
  failed = true;
  return true;
}

template <class Call>
Call* next(const char* name) {
  return reinterpret_cast<Call*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

namespace annulus::test {

void fail_disk(const std::string& folder, int n, Fault fault) {
  watched = folder;
  first_failure = n;
  kind = fault;
  calls = 0;
  failed = false;
}

void disk_cannot_reserve() { cannot_reserve = true; }

bool repair_disk() {
  watched.clear();
  cannot_reserve = false;
  return failed;
}

}  // namespace annulus::test

extern "C" {

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  if ((flags & O_CREAT) != 0 && fails(path)) return -1;
  return next<int(const char*, int, ...)>("open")(path, flags, mode);
}
int mkdir(const char* path, mode_t mode) noexcept {
  return fails(path) ? -1 : next<int(const char*, mode_t)>("mkdir")(path, mode);
}
int fallocate(int file, int mode, off_t offset, off_t bytes) {
  if (cannot_reserve && is_watched(file)) {
    errno = EOPNOTSUPP;
    return -1;
  }
  return fails(file) ? -1 : next<int(int, int, off_t, off_t)>("fallocate")(file, mode, offset, bytes);
}
int ftruncate(int file, off_t bytes) noexcept {
  return fails(file) ? -1 : next<int(int, off_t)>("ftruncate")(file, bytes);
}
ssize_t write(int file, const void* bytes, size_t size) {
  return fails(file) ? -1 : next<ssize_t(int, const void*, size_t)>("write")(file, bytes, size);
}
ssize_t pwrite(int file, const void* bytes, size_t size, off_t offset) {
  if (lies(file)) return static_cast<ssize_t>(size);
  return fails(file) ? -1 : next<ssize_t(int, const void*, size_t, off_t)>("pwrite")(file, bytes, size, offset);
}
int fsync(int file) { return fails(file) ? -1 : next<int(int)>("fsync")(file); }
int rename(const char* from, const char* to) noexcept {
  return fails(from) ? -1 : next<int(const char*, const char*)>("rename")(from, to);
}

}  // extern "C"
