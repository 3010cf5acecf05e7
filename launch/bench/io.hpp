/// How near checkpoints come to what the disk gives to plain calls.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "launch/report.hpp"
#include "launch/samples.hpp"

namespace annulus::launch {

struct IoShape {
  std::string folder;               ///< on the disk to measure
  std::int64_t bytes_per_rank = 0;  ///< rounded down to whole rows of 16 KiB
  LayoutKind layout = LayoutKind::contiguous;
};

/// One way of the bytes, all ranks together, in bytes per second from a common start to the end of the slowest rank.
struct IoRate {
  std::string_view direction;  ///< "write": until published, without verifying. "read": checksums compared. "verify"
  Samples rate;
  Samples plain;     ///< the same bytes by pwrite and fsync, or by pread
  Samples fraction;  ///< of neighbours in time
};

struct IoRates {
  IoShape shape;
  int ranks = 1;
  std::array<IoRate, 3> directions{IoRate{"write", {}, {}, {}}, {"read", {}, {}, {}}, {"verify", {}, {}, {}}};
};

/// Bytes that measure_io allocates on a rank.
std::uint64_t io_bench_bytes(std::int64_t bytes_per_rank);

/// Collective. Each sample writes and reads the bytes plainly and as a checkpoint, in alternating order, from the disk
/// where the file system can drop its cache. The files are in a folder of their own, which goes at the end. Throws
/// ResourceError if the folder cannot be written or has no room for the bytes of all ranks, and Error with
/// ExitCode::verification if a bit of what was loaded is not what was saved.
IoRates measure_io(const Communicator& world, const IoShape& shape, std::int64_t samples);

std::string io_table(const std::vector<IoRates>& rates);
Json io_to_json(const std::vector<IoRates>& rates);

}  // namespace annulus::launch
