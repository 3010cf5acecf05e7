/// POSIX calls, repeated until done and explained when they fail.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/data_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "kernels/base/error.hpp"

namespace annulus::checkpoint {
namespace {

[[noreturn]] void refuse_writing(const std::string& path, const std::string& doing, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  throw ResourceError("cannot " + doing + " '" + path + "' (" + std::strerror(error) + "); try " +
                      (full ? "a disk with more room" : "another folder"));
}

[[noreturn]] void refuse_reading(const std::string& path, const std::string& problem) {
  throw InputError("cannot read '" + path + "' (" + problem + ")");
}

/// 0, or the error of a file system that cannot reserve: there, what is free now must do. (posix_fallocate would write
/// a byte into every block: as slow as the data themselves.)
int extend(int descriptor, std::uint64_t bytes) {
  struct statvfs disk {};
  if (fstatvfs(descriptor, &disk) != 0) return errno;
  if (disk.f_bavail < bytes / disk.f_frsize) return ENOSPC;
  return ftruncate(descriptor, static_cast<off_t>(bytes)) == 0 ? 0 : errno;
}

}  // namespace

void DescriptorTraits::release(Raw raw) noexcept {
  if (close(raw) != 0) std::fprintf(stderr, "annulus: a file could not be closed (%s)\n", std::strerror(errno));
}

DataFile DataFile::create(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) refuse_writing(path, "create", errno);
  return {path, descriptor};
}

DataFile DataFile::open_to_write(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC);
  if (descriptor < 0) refuse_writing(path, "write", errno);
  return {path, descriptor};
}

DataFile DataFile::open_to_read(const std::string& path) {
  // O_NONBLOCK: opening a pipe would wait for its writer
  const int descriptor = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) refuse_reading(path, errno == ELOOP ? "it is a link" : std::strerror(errno));
  DataFile file(path, descriptor);
  struct stat status {};
  if (fstat(descriptor, &status) != 0) refuse_reading(path, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) refuse_reading(path, "it is no regular file");
  return file;
}

DataFile DataFile::in_memory() {
  const int descriptor = memfd_create("annulus checkpoint", MFD_CLOEXEC);
  if (descriptor < 0) throw ResourceError(std::string("cannot make a file in memory (") + std::strerror(errno) + ")");
  return {"/proc/self/fd/" + std::to_string(descriptor), descriptor};
}

std::uint64_t DataFile::bytes() const {
  struct stat status {};
  if (fstat(descriptor_.get(), &status) != 0) refuse_reading(path_, std::strerror(errno));
  return static_cast<std::uint64_t>(status.st_size);
}

void DataFile::reserve(std::uint64_t bytes) const {
  if (bytes == 0) return;
  int error = EINTR;
  while (error == EINTR) error = fallocate(descriptor_.get(), 0, 0, static_cast<off_t>(bytes)) == 0 ? 0 : errno;
  if (error == EOPNOTSUPP || error == ENOSYS) error = extend(descriptor_.get(), bytes);
  if (error != 0) refuse_writing(path_, "reserve " + std::to_string(bytes) + " bytes for", error);
}

void DataFile::write(std::uint64_t offset, std::span<const std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(descriptor_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) refuse_writing(path_, "write", written < 0 ? errno : EIO);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
}

void DataFile::read(std::uint64_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t got = pread(descriptor_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) refuse_reading(path_, std::strerror(errno));
    if (got == 0) refuse_reading(path_, "it ends before byte " + std::to_string(offset + bytes.size()));
    bytes = bytes.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
}

// What a file system does not take of this advice costs time and nothing else; failures to write show in sync().
void DataFile::has_written(std::uint64_t offset, std::uint64_t bytes) const {
  static_cast<void>(
      sync_file_range(descriptor_.get(), static_cast<off_t>(offset), static_cast<off_t>(bytes), SYNC_FILE_RANGE_WRITE));
}

void DataFile::drop_cache() const { static_cast<void>(posix_fadvise(descriptor_.get(), 0, 0, POSIX_FADV_DONTNEED)); }

void DataFile::sync() const {
  if (fsync(descriptor_.get()) != 0) refuse_writing(path_, "sync", errno);
}

}  // namespace annulus::checkpoint
