/// A disk that fails on demand: this executable's own versions of the calls that change files.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace annulus::test {

/// `lie`: only pwrite is counted, and the n-th says that it has written what it has not.
enum class Fault { once, from_then_on, lie };

/// From now on, calls that change files below `folder` (open to create, mkdir, fallocate, ftruncate, write, pwrite,
/// fsync, rename) are counted in this process, and the n-th fails with ENOSPC, or all from there on.
void fail_disk(const std::string& folder, int n, Fault fault);
/// From now on, there is no fallocate, as on some network file systems.
void disk_cannot_reserve();
/// Removes the fault. True if a call has failed.
bool repair_disk();

}  // namespace annulus::test
