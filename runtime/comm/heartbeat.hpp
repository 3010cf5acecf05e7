/// Signs of life between ranks, so that a wait for a peer that computes differs from a wait for one that is gone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <chrono>
#include <cstdint>

namespace annulus {

/// A rank that computes sends a beat to the rank before it, every quarter of the time it may be silent but at least every
/// five seconds; a rank that waits passes on what it hears, on all communicators that it has a heartbeat on. So whoever
/// waits hears, through others that wait, from whoever computes. A beat may be passed on twice as often as there are
/// ranks in the world, then it ends: ranks that wait for each other do not keep each other alive.
class Heartbeat {
 public:
  using Clock = std::chrono::steady_clock;

  /// Collective over `parent`.
  explicit Heartbeat(MPI_Comm parent);
  /// Collective: takes in what is still on its way.
  ~Heartbeat();
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  /// Local: "I compute", on all heartbeats of this process; call it from anything that may take long. Costs a look at the
  /// clock (30 ns) unless a beat is due.
  static void beat();
  /// Local: takes in the beats that have come to this process, and passes them on. True if there were any.
  static bool listen();

 private:
  void send(int hops_left);
  int receive();
  int hear();
  void drain();
  bool due(Clock::time_point now) const;
  int prev() const { return (rank_ + size_ - 1) % size_; }
  int next() const { return (rank_ + 1) % size_; }

  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
  int message_ = 0;  ///< read by sending_
  MPI_Request sending_ = MPI_REQUEST_NULL;
  Clock::time_point last_sent_;
  std::uint64_t sent_ = 0;
  std::uint64_t received_ = 0;
};

}  // namespace annulus
