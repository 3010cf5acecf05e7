/// One trace over all ranks, for chrome://tracing and Perfetto, and a table of what each rank spent its time on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>
#include <vector>

#include "runtime/comm/communicator.hpp"
#include "runtime/comm/timeline.hpp"

namespace annulus::launch {

/// Where --trace goes: "" nowhere.
class TraceFile {
 public:
  /// Collective. Proves before any work that the file can be written (ResourceError on all ranks); changes nothing.
  TraceFile(const Communicator& world, std::string path);

  bool is_wanted() const { return !path_.empty(); }
  /// Collective. Rank 0 writes the spans of all ranks, times in microseconds on its own clock since the first of them,
  /// and replaces the file by rename. Holds a piece of one rank's spans at a time. Throws ResourceError together.
  void write(const Communicator& world, const Timeline& mine) const;

 private:
  std::string path_;
};

/// Seconds of every activity, by rank.
using ActivitySeconds = std::vector<std::array<double, activities>>;
/// Collective.
ActivitySeconds activity_seconds(const Communicator& world, const Timeline& mine);

/// A line per rank.
std::string activity_table(const ActivitySeconds& ranks);
/// "compute 96.1 %, exposed communication 1.2 %, waiting for ranks 2.1 %": of all ranks' time together.
std::string activity_text(const ActivitySeconds& ranks);

}  // namespace annulus::launch
