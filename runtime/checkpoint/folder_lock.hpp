/// One job at a time changes a folder of checkpoints, or a file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "runtime/checkpoint/data_file.hpp"

namespace annulus::checkpoint {

/// The words of a refusal: "<problem> (<holder> <does>); try <instead>, or wait for its end".
struct LockRefusal {
  std::string problem;
  std::string does;
  std::string instead;
};

/// Holds an flock on a file made for that alone, which stays, for as long as it lives. The kernel releases it when the
/// process dies, however it dies: a dead holder never blocks. Local.
class FileLock {
 public:
  /// Waits some seconds for a holder that is about to end, then throws ResourceError that names it.
  FileLock(const std::string& path, const LockRefusal& refusal);

  /// False where the file system knows no flock (Lustre without the mount option, some network file systems): nobody is
  /// refused there.
  bool held() const { return held_; }

 private:
  Descriptor descriptor_;
  bool held_ = false;
};

/// On FOLDER/.lock.
class FolderLock : public FileLock {
 public:
  explicit FolderLock(const std::string& folder);
};

}  // namespace annulus::checkpoint
