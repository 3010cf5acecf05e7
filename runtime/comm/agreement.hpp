/// Agreement before throwing: no rank leaves a collective path alone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kernels/base/error.hpp"
#include "runtime/comm/communicator.hpp"

namespace annulus {

/// What one rank found: done, or the code and message of its failure.
struct Verdict {
  ExitCode code = ExitCode::done;
  std::string message;
};

/// Runs `work` and keeps what it throws. Local.
template <class Work>
Verdict verdict_of(Work&& work) {
  try {
    work();
    return {};
  } catch (const Error& error) {
    return {error.code(), error.what()};
  } catch (const std::bad_alloc&) {
    return {ExitCode::resources, "out of memory"};
  } catch (const std::exception& error) {
    return {ExitCode::internal, error.what()};
  }
}

/// Collective. Returns if every rank's verdict is done; else every rank throws the failure of the lowest failing rank
/// (its class follows its code; the rank is named unless all ranks failed alike).
void agree(const Communicator& comm, const Verdict& mine);

/// Collective. Runs `work` on every rank; if it throws on any, all throw together.
template <class Work>
void together(const Communicator& comm, Work&& work) {
  agree(comm, verdict_of(std::forward<Work>(work)));
}

/// Collective: opens a call. Throws together if any verdict is a failure, or a UsageError that names the ranks whose
/// `settings` hash differs from the majority's. `what` names the settings in the message. Costs one 24-byte allreduce: a
/// hash carried by a hop would warn one neighbour, and the rest of the ring would wait for the two that stop.
void agree_on_settings(const Communicator& comm, std::uint64_t settings, std::string_view what, const Verdict& mine);

}  // namespace annulus
