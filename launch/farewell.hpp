/// How ranks part after an error: together with one message, or by abort when one is alone with it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "kernels/base/error.hpp"
#include "runtime/comm/communicator.hpp"

namespace annulus::launch {

/// Prints `annulus: <message>` to stderr and flushes it. Local.
void print_error(const std::string& message);

/// Collective among the ranks that met an error. Rank 0 prints its message once all ranks have come with the same
/// code; then all return. If one does not come within a few seconds (it knows of no error) or comes with another code,
/// the rank that notices prints its own message and ends all ranks with its code. `goodbye` must be a communicator used
/// for nothing else: the ranks may be anywhere.
void part_with_error(const Communicator& goodbye, ExitCode code, const std::string& message);

}  // namespace annulus::launch
