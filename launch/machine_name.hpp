/// What tells one machine from another.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace annulus::launch {

/// Of the first processor, as the system names it; the architecture's name where it does not. Local.
std::string processor_name();

/// Of this node, whatever share of them the launcher gives to a rank. Local.
int node_cores();

/// What this node is sold as: "8 cores, 32 GiB, caches 32K 512K 32768K". The same after a restart and on every node of the
/// same make, so no name and no clock rate; without what the system does not say. Local.
std::string node_text();

/// GiB that were built in where the system has `bytes`: it keeps some per cent, not the same on all nodes, for itself, so the
/// next power of two, or one and a half. At least 1.
std::uint64_t built_in_gib(std::uint64_t bytes);

/// " 32K 512K 32768K": data caches in a folder such as /sys/devices/system/cpu/cpu0/cache, by level; empty if there are none.
std::string cache_sizes(const std::filesystem::path& folder);

}  // namespace annulus::launch
