/// One job at a time changes a folder of checkpoints.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "runtime/checkpoint/data_file.hpp"

namespace annulus::checkpoint {

/// Holds an flock on FOLDER/.lock for as long as it lives. The kernel releases it when the process dies, however it
/// dies: a dead holder never blocks. Local.
class FolderLock {
 public:
  /// Waits some seconds for a holder that is about to end, then throws ResourceError that names it.
  explicit FolderLock(const std::string& folder);

  /// False where the file system knows no flock (Lustre without the mount option, some network file systems): nobody is
  /// refused there.
  bool held() const { return held_; }

 private:
  Descriptor descriptor_;
  bool held_ = false;
};

}  // namespace annulus::checkpoint
