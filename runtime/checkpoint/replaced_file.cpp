/// Complete files only, through POSIX calls whose every result is checked.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/replaced_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "kernels/base/error.hpp"

namespace annulus {
namespace {

[[noreturn]] void refuse(const std::string& path, int error) {
  throw ResourceError("cannot write '" + path + "' (" + std::strerror(error) + "); try another folder");
}

std::string folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

/// A file keeps its owner's view of who may read it; mkstemp alone would leave 0600.
mode_t mode_after_umask() {
  const mode_t mask = umask(0);
  umask(mask);
  return 0666 & ~mask;
}

/// What was printed would be lost.
bool is_own_output(const struct stat& file) {
  for (const int descriptor : {STDOUT_FILENO, STDERR_FILENO}) {
    struct stat own {};
    if (fstat(descriptor, &own) == 0 && own.st_dev == file.st_dev && own.st_ino == file.st_ino) return true;
  }
  return false;
}

}  // namespace

void sync_folder_of(const std::string& path) {
  const int folder = open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) refuse(path, errno);
  const int failure = fsync(folder) == 0 ? 0 : errno;
  close(folder);
  // Some network file systems cannot sync a folder and say EINVAL; the rename has happened all the same.
  if (failure != 0 && failure != EINVAL) refuse(path, failure);
}

ReplacedFile::ReplacedFile(std::string path) : path_(std::move(path)), temporary_(path_ + ".tmp.XXXXXX") {
  struct stat status {};
  if (lstat(path_.c_str(), &status) == 0) {  // a link would be replaced, not what it leads to: /dev/stdout for all programs
    if (S_ISLNK(status.st_mode)) throw ResourceError("cannot replace '" + path_ + "' (it is a link); try the name of the file itself");
    if (!S_ISREG(status.st_mode)) throw ResourceError("cannot write '" + path_ + "' (it is no regular file); try another name");
    if (is_own_output(status)) throw ResourceError("cannot replace '" + path_ + "' (this program prints into it); try another name");
  }
  descriptor_ = mkostemp(temporary_.data(), O_CLOEXEC);
  if (descriptor_ < 0) refuse(path_, errno);
  if (fchmod(descriptor_, mode_after_umask()) != 0) {
    const int error = errno;
    close(descriptor_);
    unlink(temporary_.c_str());
    refuse(path_, error);
  }
}

ReplacedFile::~ReplacedFile() {
  if (descriptor_ < 0) return;
  close(descriptor_);
  unlink(temporary_.c_str());
}

void ReplacedFile::reserve(std::uint64_t bytes) const {
  if (bytes == 0) return;
  if (const int error = posix_fallocate(descriptor_, 0, static_cast<off_t>(bytes)); error != 0) {
    throw ResourceError("cannot reserve " + std::to_string(bytes) + " bytes for '" + path_ + "' (" +
                        std::strerror(error) + "); try a disk with more room");
  }
}

void ReplacedFile::append(std::string_view text) const {
  while (!text.empty()) {
    const ssize_t written = write(descriptor_, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) refuse(path_, errno);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

void ReplacedFile::commit() {
  if (fsync(descriptor_) != 0) refuse(path_, errno);
  if (rename(temporary_.c_str(), path_.c_str()) != 0) refuse(path_, errno);
  close(descriptor_);
  descriptor_ = -1;
  sync_folder_of(path_);
}

}  // namespace annulus
