/// The error base of every room: a message for a person and the exit code that the program ends with.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>

namespace annulus {

/// Exit codes of the program; the library attaches them to its exceptions.
enum class ExitCode : int {
  done = 0,
  usage = 2,          ///< wrong arguments
  input = 3,          ///< bad file or checkpoint
  resources = 4,      ///< memory, disk, permission to write
  communication = 5,  ///< a peer failed or stayed silent
  verification = 6,   ///< results beyond the stated tolerance
  stopped = 7,        ///< stopped on request, state saved
  internal = 70,      ///< a defect of Annulus itself
};

/// Message form: `<problem> (<why it matters>) <what to try>`.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

struct UsageError : Error {
  explicit UsageError(const std::string& message) : Error(ExitCode::usage, message) {}
};
struct InputError : Error {
  explicit InputError(const std::string& message) : Error(ExitCode::input, message) {}
};
struct ResourceError : Error {
  explicit ResourceError(const std::string& message) : Error(ExitCode::resources, message) {}
};

/// Throws the class that belongs to `code`: ranks that learn of another rank's failure throw what it threw.
[[noreturn]] void throw_error(ExitCode code, const std::string& message);

}  // namespace annulus
