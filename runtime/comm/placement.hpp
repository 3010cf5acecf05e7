/// Where the ranks run: cores of this rank, ranks of this node.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "runtime/comm/communicator.hpp"

namespace annulus {

/// Collective over the ranks of one node. The cores this rank may use, divided by the node's ranks that may use exactly
/// the same ones (all of them when the launcher binds nothing); at least 1. 1 if MPI was initialised without threads.
int fair_threads(const Communicator& node);

/// Collective over the ranks of one node. True if `threads` threads on each of the ranks that may use exactly this rank's
/// cores do not have to share them.
bool cores_suffice(const Communicator& node, int threads);

/// Local: true if MPI was initialised so that a rank may have threads besides the one that calls MPI.
bool threads_allowed();

/// Local: cores this rank may use, and the name of its host.
int usable_cores();
std::string host_name();

}  // namespace annulus
