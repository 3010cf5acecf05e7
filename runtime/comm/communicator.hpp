/// The MPI communicator of one call: owned, error-checked, sized in 64 bits. This room alone includes mpi.h.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <source_location>
#include <span>
#include <string>
#include <vector>

#include "kernels/base/error.hpp"
#include "kernels/base/workers.hpp"
#include "runtime/comm/handle.hpp"
#include "runtime/comm/heartbeat.hpp"

namespace annulus {

/// An MPI call failed: what it was to do, where, and MPI's own words.
class MpiError : public Error {
 public:
  MpiError(int mpi_code, const char* doing, std::source_location at);
  int mpi_code() const { return mpi_code_; }

 private:
  int mpi_code_;
};

inline void check_mpi(int code, const char* doing, std::source_location at = std::source_location::current()) {
  if (code != MPI_SUCCESS) throw MpiError(code, doing, at);
}

/// A duplicate of the caller's communicator. It returns errors instead of aborting; the caller's own communicator and
/// its error handler stay as they were. Move-only. Methods are collective unless they say local; so is the destructor.
/// No wait lasts for ever (set_comm_timeout).
class Communicator {
 public:
  /// Collective over `parent`.
  static Communicator duplicate(MPI_Comm parent);

  int rank() const { return rank_; }  ///< local
  int size() const { return size_; }  ///< local
  MPI_Comm raw() const { return comm_.get(); }  ///< local

  /// The ranks of this communicator that share memory with this rank, in rank order.
  Communicator node() const;
  /// Ranks with one `color`, in rank order.
  Communicator split(int color) const;

  void barrier() const { await_all_ranks("meet all ranks"); }
  /// As barrier, for waits as long as others work: this rank sleeps, and leaves them its core and the memory's bandwidth.
  void barrier_asleep() const;
  /// Element-wise over ranks; the result is the same on every rank.
  void min(std::span<std::uint64_t> values) const;
  void max(std::span<std::uint64_t> values) const;
  void max(std::span<double> values) const;
  void sum(std::span<std::uint64_t> values) const;
  /// Adds in rank order, so the bits depend on nothing but the values and the rank count.
  void sum(std::span<double> values) const;
  /// Any size: split into pieces that fit an MPI count.
  void broadcast(std::span<std::byte> bytes, int root) const;
  void broadcast(std::string& text, int root) const;
  /// One 64-bit value of every rank, by rank.
  std::vector<std::uint64_t> all_gather(std::uint64_t value) const;

  /// Blocking point-to-point of any size, local; both sides must give the same size.
  void send(std::span<const std::byte> bytes, int to, int tag) const;
  void receive(std::span<std::byte> bytes, int from, int tag) const;

 private:
  struct CommTraits {
    using Raw = MPI_Comm;
    static Raw empty() { return MPI_COMM_NULL; }
    static void release(Raw comm) noexcept;
  };
  Communicator(MPI_Comm owned, std::shared_ptr<Heartbeat> heartbeat);
  /// All ranks come here before one that cannot be bounded: a call that MPI offers only as blocking.
  void await_all_ranks(const char* doing) const;
  Handle<CommTraits> comm_;
  std::shared_ptr<Heartbeat> heartbeat_;  ///< of the communicator that this one was made from
  int rank_ = 0;
  int size_ = 1;
};

}  // namespace annulus
