/// Memory that all ranks of one node read and write in place (an MPI-3 shared window).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "runtime/comm/communicator.hpp"

namespace annulus {

/// One segment per rank of a communicator whose ranks all share memory. Construction is collective; it throws the same
/// ResourceError on all ranks if the node has no room (/dev/shm too small). Destruction is collective. Visibility
/// follows MPI's unified model: writer sync(), then a message or barrier, then reader sync().
class SharedWindow {
 public:
  SharedWindow(const Communicator& node, std::uint64_t own_bytes);
  ~SharedWindow();
  SharedWindow(const SharedWindow&) = delete;
  SharedWindow& operator=(const SharedWindow&) = delete;

  std::byte* segment(int rank) const { return segments_[static_cast<std::size_t>(rank)]; }  ///< 64-byte aligned
  void sync() const;                                                                        ///< local
  std::uint64_t own_bytes() const { return own_bytes_; }
  /// Of this rank's segment: pages that some rank has touched, all where the system does not say. None of a window of one
  /// rank: MPI gives it private memory. Local.
  std::uint64_t resident_bytes() const;

 private:
  std::byte* own() const { return segments_[own_rank_]; }

  std::size_t own_rank_;
  std::uint64_t own_bytes_;
  MPI_Win window_ = MPI_WIN_NULL;
  std::vector<std::byte*> segments_;
};

/// Of all windows that this process has. Local.
std::uint64_t resident_window_bytes();

/// Bytes free for shared windows on this node, or UINT64_MAX where the system does not say. Local.
std::uint64_t shared_memory_free();

}  // namespace annulus
