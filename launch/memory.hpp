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

/// Memory of this process beyond what it held when the watch began, private or in its segments of shared windows, to the page
/// and without what the allocator keeps of freed memory (glibc). The system's own peak is less exact: Linux counts pages per
/// CPU and hands them on in batches, up to 0.8 MiB late on 2 cores (it grows with their square). It counts where it is so far
/// above what was seen, and another MiB for the allocator, that something must have been missed.
class MemoryWatch {
 public:
  MemoryWatch();
  /// Walks the page table: some 10 ms for every GiB of small pages. Local; call where there is most.
  void look();
  std::uint64_t most_bytes() const;

 private:
  std::uint64_t held_;
  std::uint64_t seen_;
  bool peak_is_new_;  ///< else the system's is of what was before
};

/// Memory that this node can still give: MemAvailable, or less where a control group limits it. UINT64_MAX where the
/// system does not say. Local.
std::uint64_t available_memory();

/// Collective, before anything is allocated: throws ResourceError together if the ranks of any node plan more than the
/// node can give. `bytes` is what this rank will allocate, `what` names it: "q, k, v and the ring".
void check_memory(const Communicator& world, std::uint64_t bytes, std::string_view what);

/// "1.5 GiB": for messages and tables.
std::string bytes_text(double bytes);

}  // namespace annulus::launch
