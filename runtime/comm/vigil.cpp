/// The end of a wait that lasts too long.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/vigil.hpp"

#include <cmath>
#include <cstdio>
#include <ctime>
#include <utility>

#include "runtime/comm/communicator.hpp"
#include "runtime/comm/heartbeat.hpp"
#include "runtime/comm/placement.hpp"
#include "runtime/comm/session.hpp"

namespace annulus {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr auto listen_interval = std::chrono::milliseconds(5);

struct Patience {
  double seconds = default_comm_timeout;
  std::function<void(const std::string&)> on_silence;
  int step = 0;
  int steps = 0;
};

/// Of this process. Used by the thread that calls MPI only.
Patience& patience() {
  static Patience ours;
  return ours;
}

/// The number of `rank` of `comm` in the world, which is how launchers name it; as it is where MPI cannot tell.
int world_rank(MPI_Comm comm, int rank) {
  MPI_Group from = MPI_GROUP_NULL;
  MPI_Group world = MPI_GROUP_NULL;
  int translated = MPI_UNDEFINED;
  if (MPI_Comm_group(comm, &from) != MPI_SUCCESS || MPI_Comm_group(MPI_COMM_WORLD, &world) != MPI_SUCCESS ||
      MPI_Group_translate_ranks(from, 1, &rank, world, &translated) != MPI_SUCCESS || translated == MPI_UNDEFINED) {
    return rank;
  }
  return translated;
}

std::string clock_time(double seconds_ago) {
  const std::time_t then = std::time(nullptr) - static_cast<std::time_t>(seconds_ago);
  std::tm utc{};
  std::array<char, 32> text{};
  gmtime_r(&then, &utc);
  return std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S UTC", &utc) > 0 ? text.data() : "an unknown time";
}

std::string rounded(double seconds) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), seconds < 10 ? "%.1f" : "%.0f", seconds);
  return text.data();
}

}  // namespace

void set_comm_timeout(double seconds, std::function<void(const std::string&)> on_silence) {
  if (!(seconds >= 0 && seconds <= longest_comm_timeout)) {
    throw UsageError("a communication timeout of " + std::to_string(seconds) + " s; try 0 (for ever) to 1e9");
  }
  patience().seconds = seconds;
  patience().on_silence = std::move(on_silence);
}

double comm_timeout() { return patience().seconds; }

void note_ring_step(int step, int steps) {
  patience().step = step;
  patience().steps = steps;
}

void Vigil::look() {
  if (patience().seconds == 0) return;
  const auto now = std::chrono::steady_clock::now();
  if (began_.time_since_epoch().count() == 0) began_ = heard_ = listened_ = now;
  if (now - listened_ < listen_interval) return;
  listened_ = now;
  if (Heartbeat::listen()) heard_ = now;
  if (Seconds(now - heard_).count() > patience().seconds) give_up();
}

std::string Vigil::message() const {
  const double waited = Seconds(listened_ - began_).count();
  const double silent = Seconds(listened_ - heard_).count();
  std::string text = "rank " + std::to_string(launched_rank()) + " on " + host_name() + " has waited " + rounded(waited) +
                     " s to " + awaited_.doing;
  if (awaited_.bytes > 0) text += " " + std::to_string(awaited_.bytes) + " bytes";
  text += awaited_.peer < 0 ? " (all ranks)" : " (rank " + std::to_string(world_rank(comm_, awaited_.peer)) + ")";
  if (patience().steps > 0) {
    text += ", ring step " + std::to_string(patience().step) + " of " + std::to_string(patience().steps);
  }
  return text + ", since " + clock_time(waited) + ", the last " + rounded(silent) +
         " s without a sign of life from a rank that computes (a rank or link may be gone, or --comm-timeout too short)";
}

void Vigil::give_up() const {
  const std::string text = message();
  std::fprintf(stderr, "annulus: %s; ending all ranks\n", text.c_str());
  std::fflush(stderr);
  if (patience().on_silence) patience().on_silence(text);
  Session::abort(ExitCode::communication);
}

void await(const Communicator& comm, const Awaited& awaited, const std::function<bool()>& done) {
  Vigil vigil(comm.raw(), awaited);
  while (!done()) vigil.keep();
}

void await_all(std::span<MPI_Request> requests, MPI_Status* statuses, MPI_Comm comm, const Awaited& awaited) {
  Vigil vigil(comm, awaited);
  const auto count = static_cast<int>(requests.size());
  for (int done = 0;;) {
    check_mpi(MPI_Testall(count, requests.data(), &done, statuses), awaited.doing);
    if (done != 0) return;
    vigil.keep();
  }
}

}  // namespace annulus
