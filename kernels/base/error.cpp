/// Turns an agreed exit code back into the exception class that callers catch.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/base/error.hpp"

namespace annulus {

void throw_error(ExitCode code, const std::string& message) {
  switch (code) {
    case ExitCode::usage: throw UsageError(message);
    case ExitCode::input: throw InputError(message);
    case ExitCode::resources: throw ResourceError(message);
    default: throw Error(code, message);
  }
}

}  // namespace annulus
