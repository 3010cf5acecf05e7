/// Shared windows: room is checked before they are made, because a full /dev/shm would kill ranks when they touch it.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/shared_window.hpp"

#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <exception>
#include <limits>

#include "kernels/base/buffer.hpp"
#include "runtime/comm/agreement.hpp"

namespace annulus {
namespace {

/// Collective: the sum of all segments must fit what the fullest view of the node still has.
void check_room(const Communicator& node, std::uint64_t own_bytes) {
  std::array<std::uint64_t, 1> needed{own_bytes};
  std::array<std::uint64_t, 1> free{shared_memory_free()};
  node.sum(needed);
  node.min(free);
  if (needed[0] > free[0]) {
    throw ResourceError("shared blocks need " + std::to_string(needed[0]) + " bytes but /dev/shm has " +
                        std::to_string(free[0]) + " free (blocks are read in place there); try --exchange messages");
  }
}

/// Of this process: it is the process whose memory people ask for. MPI calls come from one thread, and so do windows.
std::vector<const SharedWindow*>& all_windows() {
  static std::vector<const SharedWindow*> windows;
  return windows;
}

}  // namespace

std::uint64_t shared_memory_free() {
  struct statvfs status {};
  if (statvfs("/dev/shm", &status) != 0) return std::numeric_limits<std::uint64_t>::max();
  return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
}

SharedWindow::SharedWindow(const Communicator& node, std::uint64_t own_bytes)
    : own_rank_(static_cast<std::size_t>(node.rank())), own_bytes_(own_bytes) {
  const std::uint64_t padded = round_up(static_cast<std::int64_t>(own_bytes), buffer_alignment) + buffer_alignment;
  check_room(node, padded);
  void* base = nullptr;
  const int code = MPI_Win_allocate_shared(static_cast<MPI_Aint>(padded), 1, MPI_INFO_NULL, node.raw(), &base, &window_);
  together(node, [&] {
    if (code != MPI_SUCCESS) {
      throw ResourceError("cannot allocate " + std::to_string(padded) +
                          " bytes of shared memory per rank (MPI refused); try --exchange messages");
    }
  });
  check_mpi(MPI_Win_set_errhandler(window_, MPI_ERRORS_RETURN), "let a window return errors");
  check_mpi(MPI_Win_lock_all(MPI_MODE_NOCHECK, window_), "open a window");
  for (int rank = 0; rank < node.size(); ++rank) {
    MPI_Aint size = 0;
    int unit = 0;
    void* segment = nullptr;
    check_mpi(MPI_Win_shared_query(window_, rank, &size, &unit, &segment), "find a neighbour's segment");
    const auto address = reinterpret_cast<std::uintptr_t>(segment);
    segments_.push_back(static_cast<std::byte*>(segment) + (buffer_alignment - address % buffer_alignment));
  }
  all_windows().push_back(this);
}

SharedWindow::~SharedWindow() {
  std::erase(all_windows(), this);
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (finalized != 0 || window_ == MPI_WIN_NULL || std::uncaught_exceptions() > 0) return;
  if (MPI_Win_unlock_all(window_) != MPI_SUCCESS || MPI_Win_free(&window_) != MPI_SUCCESS) {
    std::fprintf(stderr, "annulus: a shared window could not be freed\n");
  }
}

std::uint64_t SharedWindow::resident_bytes() const {
  if (segments_.size() == 1) return 0;
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(own()) / page * page;
  const std::uint64_t bytes = reinterpret_cast<std::uintptr_t>(own()) + own_bytes_ - begin;
  std::vector<unsigned char> pages((bytes + page - 1) / page);
  if (mincore(reinterpret_cast<void*>(begin), bytes, pages.data()) != 0) return own_bytes_;
  return page * static_cast<std::uint64_t>(std::ranges::count_if(pages, [](unsigned char state) { return (state & 1U) != 0; }));
}

std::uint64_t resident_window_bytes() {
  std::uint64_t bytes = 0;
  for (const SharedWindow* window : all_windows()) bytes += window->resident_bytes();
  return bytes;
}

void SharedWindow::sync() const { check_mpi(MPI_Win_sync(window_), "order shared memory"); }

}  // namespace annulus
