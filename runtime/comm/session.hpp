/// MPI for the length of a program.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "runtime/comm/communicator.hpp"

namespace annulus {

/// Initialises MPI (threads funneled) and finalises it, unless an exception unwinds: the others would hang.
class Session {
 public:
  Session(int& argc, char**& argv);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// All ranks of the program.
  const Communicator& world() const { return world_; }

  /// Ends every rank with `code` at once: for failures that one rank cannot share (HDF5 left half-closed, MPI broken).
  [[noreturn]] static void abort(ExitCode code) noexcept;

 private:
  Communicator world_;
};

/// The rank that a launcher announced in the environment, or 0: for messages before MPI is initialised.
int launched_rank();
/// Local: this rank's number among those of the job on its node, as the launcher says; none if it says nothing.
std::optional<int> launched_node_rank();
/// True under mpirun, srun and the like.
bool launched_by_mpi();
/// "Open MPI v4.1.4, ...": for `info`.
std::string mpi_version();

}  // namespace annulus
