/// Beats are messages of one number: how often it may be passed on.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/heartbeat.hpp"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <vector>

#include "runtime/comm/communicator.hpp"
#include "runtime/comm/vigil.hpp"

namespace annulus {
namespace {

constexpr int beat_tag = 1;
constexpr double slowest_beat = 5;  ///< seconds

/// Of this process. Used by the thread that calls MPI only.
std::vector<Heartbeat*>& all_heartbeats() {
  static std::vector<Heartbeat*> all;
  return all;
}

int world_size() {
  int size = 1;
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &size), "ask for the number of ranks");
  return size;
}

}  // namespace

Heartbeat::Heartbeat(MPI_Comm parent) : last_sent_(Clock::now()) {
  check_mpi(MPI_Comm_dup(parent, &comm_), "make a communicator for signs of life");
  check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "let a communicator return errors");
  check_mpi(MPI_Comm_rank(comm_, &rank_), "ask for the rank");
  check_mpi(MPI_Comm_size(comm_, &size_), "ask for the number of ranks");
  all_heartbeats().push_back(this);
}

Heartbeat::~Heartbeat() {
  std::erase(all_heartbeats(), this);
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (finalized != 0 || std::uncaught_exceptions() > 0) return;  // the others may not come here
  try {
    drain();
    check_mpi(MPI_Comm_free(&comm_), "free a communicator");
  } catch (const Error& error) {
    std::fprintf(stderr, "annulus: signs of life could not be ended: %s\n", error.what());
  }
}

/// A beat that arrived after its communicator is freed could be taken for a message of the next one.
void Heartbeat::drain() {
  if (size_ == 1) return;
  std::vector<std::uint64_t> sent(static_cast<std::size_t>(size_));
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iallgather(&sent_, 1, MPI_UINT64_T, sent.data(), 1, MPI_UINT64_T, comm_, &request), "count signs of life");
  await_all({&request, 1}, MPI_STATUSES_IGNORE, comm_, {"end the exchange of signs of life"});
  const std::uint64_t expected = sent[static_cast<std::size_t>(next())];
  while (received_ < expected) receive();
  check_mpi(MPI_Wait(&sending_, MPI_STATUS_IGNORE), "finish a sign of life");
}

bool Heartbeat::due(Clock::time_point now) const {
  const double interval = std::min(slowest_beat, comm_timeout() / 4);
  return size_ > 1 && now - last_sent_ > std::chrono::duration<double>(interval);
}

/// Skipped while the last beat has not left.
void Heartbeat::send(int hops_left) {
  int left = 1;
  check_mpi(MPI_Test(&sending_, &left, MPI_STATUS_IGNORE), "finish a sign of life");
  if (left == 0) return;
  message_ = hops_left;
  check_mpi(MPI_Isend(&message_, 1, MPI_INT, prev(), beat_tag, comm_, &sending_), "give a sign of life");
  ++sent_;
  last_sent_ = Clock::now();
}

int Heartbeat::receive() {
  int hops_left = 0;
  check_mpi(MPI_Recv(&hops_left, 1, MPI_INT, next(), beat_tag, comm_, MPI_STATUS_IGNORE), "take a sign of life");
  ++received_;
  return hops_left;
}

/// The most that any beat which has come may still be passed on; 0 if none has come.
int Heartbeat::hear() {
  int most = 0;
  for (int arrived = 1; size_ > 1 && arrived != 0;) {
    check_mpi(MPI_Iprobe(next(), beat_tag, comm_, &arrived, MPI_STATUS_IGNORE), "look for signs of life");
    if (arrived != 0) most = std::max(most, receive());
  }
  return most;
}

void Heartbeat::beat() {
  if (comm_timeout() == 0 || all_heartbeats().empty()) return;
  const Clock::time_point now = Clock::now();
  for (Heartbeat* heart : all_heartbeats()) {
    if (!heart->due(now)) continue;
    heart->hear();  // so that nothing piles up where nobody waits
    heart->send(2 * world_size());
  }
}

bool Heartbeat::listen() {
  int most = 0;
  for (Heartbeat* heart : all_heartbeats()) most = std::max(most, heart->hear());
  for (Heartbeat* heart : all_heartbeats()) {
    if (most > 1 && heart->size_ > 1) heart->send(most - 1);
  }
  return most > 0;
}

}  // namespace annulus
