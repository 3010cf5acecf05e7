/// What a sub-command is: arguments in, checked before MPI starts; a job out, run by all ranks together.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "kernels/base/error.hpp"
#include "runtime/comm/communicator.hpp"

namespace annulus::launch {

/// Collective over `world`, all ranks of the program. Returns the exit code, the same on every rank, or throws an Error
/// that every rank throws alike (see agreement.hpp). An error that the others do not share ends the job by abort.
/// Human output goes to stdout, from rank 0 only.
using Job = std::function<ExitCode(const Communicator& world)>;

struct Command {
  std::string_view name;
  std::string_view summary;  ///< one line for `annulus --help`
  std::string (*help)();
  /// Local, without MPI; `arguments` come after the command's name. Throws UsageError.
  Job (*parse)(std::span<const std::string> arguments);
  /// In place of parse, of commands that need no MPI: local, does all of its work. Under mpirun rank 0 alone runs it.
  ExitCode (*alone)(std::span<const std::string> arguments) = nullptr;
};

Command attend_command();      ///< attend.cpp
Command run_command();         ///< run.cpp
Command checkpoint_command();  ///< checkpoint.cpp
Command bench_command();       ///< bench.cpp
Command report_command();      ///< report_command.cpp
Command info_command();        ///< info.cpp
Command plan_command();        ///< plan.cpp
Command calibrate_command();   ///< calibrate.cpp
Command study_command();       ///< study.cpp

}  // namespace annulus::launch
