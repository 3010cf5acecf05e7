/// The program `annulus COMMAND [options]`: one message and one exit code per failure, the same on every rank.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <annulus/version.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "launch/command.hpp"
#include "launch/farewell.hpp"
#include "runtime/checkpoint/hdf5_error.hpp"
#include "runtime/comm/agreement.hpp"
#include "runtime/comm/session.hpp"

namespace annulus::launch {
namespace {

const std::array commands{attend_command(), run_command(),       checkpoint_command(), plan_command(), calibrate_command(),
                          study_command(),  report_command(), bench_command(), info_command()};

std::string program_help() {
  std::string text =
      "Usage: annulus COMMAND [options], plain or under mpirun\n\n"
      "Exact attention over sequences that do not fit one machine.\n\nCommands:\n";
  for (const Command& command : commands) text += fmt::format("  {:<12}{}\n", command.name, command.summary);
  return text +
         "\nannulus COMMAND --help lists a command's options; annulus --version names this version.\n"
         "Exit codes: 0 done, 2 usage, 3 bad input, 4 memory or disk, 5 communication, 6 verification failed, 7 stopped, "
         "state saved, 70 defect\n";
}

/// Null if there is none of that name.
const Command* find_command(const std::string& name) {
  for (const Command& command : commands) {
    if (command.name == name) return &command;
  }
  return nullptr;
}

/// What --help and --version print, empty if neither is asked for. They need no MPI and win over all other words.
std::string answer_without_mpi(const std::vector<std::string>& words) {
  if (words.empty()) return {};
  if (words[0] == "--help") return program_help();
  if (words[0] == "--version") return "annulus " ANNULUS_VERSION "\n";
  const Command* command = find_command(words[0]);
  const bool asked = std::find(words.begin(), words.end(), "--help") != words.end();
  return command != nullptr && asked ? command->help() : std::string();
}

Job parse(const std::vector<std::string>& words) {
  if (words.empty()) throw UsageError("no command given; see annulus --help");
  const Command* command = find_command(words[0]);
  if (command == nullptr) throw UsageError(fmt::format("unknown command '{}'; see annulus --help", words[0]));
  return command->parse(std::span(words).subspan(1));
}

std::uint64_t line_hash(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) line += word + '\0';
  return std::hash<std::string>()(line);
}

/// Runs the job on ranks that agree on the command line. Throws alike on all ranks what they agree on.
ExitCode run_together(const Communicator& world, const std::vector<std::string>& words) {
  Job job;
  const Verdict parsed = verdict_of([&] { job = parse(words); });
  agree_on_settings(world, line_hash(words), "the command line", parsed);
  return job(world);
}

/// Turns what a job threw into messages and an exit code. MPI must still run.
ExitCode explain(const Communicator& goodbye) {
  try {
    throw;
  } catch (const MpiError& error) {
    print_error(fmt::format("{} [on rank {}; ending all ranks]", error.what(), goodbye.rank()));
    Session::abort(error.code());
  } catch (const DamagedFileError& error) {
    // HDF5 1.10 crashes inside MPI_Finalize after a failed write: leave without it.
    part_with_error(goodbye, error.code(), error.what());
    Session::abort(error.code());
  } catch (...) {
    const Verdict verdict = verdict_of([] { throw; });
    part_with_error(goodbye, verdict.code, verdict.message);
    return verdict.code;
  }
}

ExitCode run_under_mpi(int& argc, char**& argv, const std::vector<std::string>& words) {
  Session session(argc, argv);
  const Communicator goodbye = Communicator::duplicate(session.world().raw());
  ExitCode code = ExitCode::internal;
  try {
    code = run_together(session.world(), words);
  } catch (...) {
    code = explain(goodbye);
  }
  goodbye.barrier();  // a rank that leaves with a failure would end those that still print
  return code;
}

std::string unwritten(const char* why) {
  return fmt::format("the output could not be written ({}); try another place for it", why);
}

ExitCode guarded_main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit is a write that fails, with a message, not a death
  try {
    const std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
    const std::string answer = answer_without_mpi(words);
    const Command* const command = words.empty() ? nullptr : find_command(words[0]);
    const bool alone = command != nullptr && command->alone != nullptr;
    if (answer.empty() && !alone) return run_under_mpi(argc, argv, words);
    if (launched_rank() != 0) return ExitCode::done;
    if (answer.empty()) return command->alone(std::span(words).subspan(1));
    fmt::print("{}", answer);
    return ExitCode::done;
  } catch (const Error& error) {
    print_error(error.what());
    return error.code();
  } catch (const std::system_error& error) {  // fmt::print, which writes in between
    print_error(unwritten(error.what()));
    return ExitCode::resources;
  } catch (const std::exception& error) {
    print_error(error.what());
    return ExitCode::internal;
  }
}

/// What waits in the buffer of standard output may find no room.
ExitCode flushed(ExitCode code) {
  if (code != ExitCode::done || (std::fflush(stdout) == 0 && std::ferror(stdout) == 0)) return code;
  print_error(unwritten(std::strerror(errno)));
  return ExitCode::resources;
}

}  // namespace
}  // namespace annulus::launch

int main(int argc, char** argv) {
  using namespace annulus::launch;
  return static_cast<int>(flushed(guarded_main(argc, argv)));
}
