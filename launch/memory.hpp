/// Memory of this rank and of its node: what was used, and whether what is planned fits.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/comm/communicator.hpp"

namespace annulus::launch {

/// Peak memory of this rank without files and shared memory in bytes, 0 where the system does not say: VmHWM less their
/// resident pages. Local.
std::uint64_t peak_private_bytes();

/// Collective: of every rank, with its part of the shared memory that its node's ranks have touched. All have the same
/// part: which rank reads most of the others' windows (in a causal ring the one with the last tokens) says nothing about
/// what a rank needs, and windows are of one size. Call while the ring lives: windows count only while mapped.
std::vector<std::uint64_t> peak_rss_of_ranks(const Communicator& world);

/// Gives freed memory back to the system; the peak begins anew from what is held now (Linux with glibc). Local.
void forget_peak_memory();

/// Memory that this node can still give: MemAvailable, or less where a control group limits it. UINT64_MAX where the
/// system does not say. Local.
std::uint64_t available_memory();

/// Collective, before anything is allocated: throws ResourceError together if the ranks of any node plan more than the
/// node can give. `bytes` is what this rank will allocate, `what` names it: "q, k, v and the ring".
void check_memory(const Communicator& world, std::uint64_t bytes, std::string_view what);

/// "1.5 GiB": for messages and tables.
std::string bytes_text(double bytes);

}  // namespace annulus::launch
