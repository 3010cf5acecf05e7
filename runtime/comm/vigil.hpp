/// Bounded waits: a rank that hears nothing from anybody for too long says for whom it waited, and ends all ranks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

namespace annulus {

class Communicator;

inline constexpr double default_comm_timeout = 300;  ///< seconds
inline constexpr double longest_comm_timeout = 1e9;

/// Local. `seconds` that the ranks of this process may wait without a sign of life before all ranks are ended with code
/// 5; 0: for ever. The same for all communicators of the process. Throws UsageError for what is neither 0 nor a number
/// of seconds up to the longest. `on_silence` (may be empty) is called first, with the message: a host program's last
/// word. It must not call MPI.
void set_comm_timeout(double seconds, std::function<void(const std::string& message)> on_silence = {});
double comm_timeout();

/// Local: what the ring does, for the message; (0, 0) outside of it.
void note_ring_step(int step, int steps);

/// What a rank waits for.
struct Awaited {
  const char* doing;        ///< "receive"
  int peer = -1;            ///< rank of the communicator that waits; -1: all of its ranks
  std::uint64_t bytes = 0;
};

/// One wait of the calling thread. Counts from its beginning, or from the last sign of life heard since.
class Vigil {
 public:
  Vigil(MPI_Comm comm, const Awaited& awaited) : comm_(comm), awaited_(awaited) {}

  /// Call it as long as what is awaited has not come. Does not return if it has not come for too long.
  void keep() {
    if (++looks_ % looks_per_clock == 0) look();
  }

 private:
  static constexpr std::uint32_t looks_per_clock = 16;
  void look();
  [[noreturn]] void give_up() const;
  std::string message() const;

  MPI_Comm comm_;
  Awaited awaited_;
  std::uint32_t looks_ = 0;
  std::chrono::steady_clock::time_point began_{};  ///< epoch: not yet looked
  std::chrono::steady_clock::time_point heard_{};
  std::chrono::steady_clock::time_point listened_{};
};

/// Waits until done(), which moves on what is awaited; its first call may find it over.
void await(const Communicator& comm, const Awaited& awaited, const std::function<bool()>& done);

/// Waits until all `requests` are complete. Throws MpiError.
void await_all(std::span<MPI_Request> requests, MPI_Status* statuses, MPI_Comm comm, const Awaited& awaited);

}  // namespace annulus
