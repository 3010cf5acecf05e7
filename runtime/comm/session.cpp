/// Starting and ending MPI.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/session.hpp"

#include <chrono>
#include <cstdlib>
#include <exception>
#include <thread>

namespace annulus {
namespace {

constexpr auto abort_patience = std::chrono::seconds(5);

MPI_Comm start_mpi(int& argc, char**& argv) {
  int provided = MPI_THREAD_SINGLE;
  check_mpi(MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided), "initialise MPI");
  if (provided < MPI_THREAD_FUNNELED) {
    throw Error(ExitCode::communication, "this MPI forbids threads (MPI_THREAD_FUNNELED is not provided)");
  }
  return MPI_COMM_WORLD;
}

}  // namespace

Session::Session(int& argc, char**& argv) : world_(Communicator::duplicate(start_mpi(argc, argv))) {}

Session::~Session() {
  if (std::uncaught_exceptions() > 0) return;  // the others would wait in MPI_Finalize for ever
  { const Communicator last = std::move(world_); }
  MPI_Finalize();
}

void Session::abort(ExitCode code) noexcept {
  // Where the launcher cannot be reached, MPI_Abort waits for ever.
  std::thread([code] {
    std::this_thread::sleep_for(abort_patience);
    std::_Exit(static_cast<int>(code));
  }).detach();
  MPI_Abort(MPI_COMM_WORLD, static_cast<int>(code));
  std::_Exit(static_cast<int>(code));
}

bool launched_by_mpi() {
  for (const char* variable : {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"}) {
    if (std::getenv(variable) != nullptr) return true;
  }
  return false;
}

int launched_rank() {
  for (const char* variable : {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID"}) {
    if (const char* rank = std::getenv(variable)) return std::atoi(rank);
  }
  return 0;
}

std::optional<int> launched_node_rank() {
  for (const char* variable : {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"}) {
    if (const char* rank = std::getenv(variable)) return std::atoi(rank);
  }
  return std::nullopt;
}

std::string mpi_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  check_mpi(MPI_Get_library_version(text.data(), &length), "ask for the MPI version");
  return {text.data(), static_cast<std::size_t>(length)};
}

}  // namespace annulus
