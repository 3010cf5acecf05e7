/// What a results file says, as tables and pictures need it: checked, labelled, with efficiencies.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/report.hpp"
#include "launch/study/file.hpp"

namespace annulus::launch {

/// A number as it was measured and as it was predicted; either may be missing.
struct Estimate {
  std::optional<double> measured;
  std::optional<double> predicted;

  /// (predicted - measured) / measured.
  std::optional<double> relative_error() const;
};

/// The samples of a measured number.
struct Range {
  double low = 0;
  double high = 0;
};

/// Layers of one kind in one direction.
struct LayerPoint {
  std::string kind;
  std::string direction;
  std::int64_t layers = 0;  ///< measured; 0 if only predicted
  Estimate seconds;         ///< means per layer, as the others
  Estimate exposed_seconds;
  Estimate bytes_sent;
};

struct TimePoint {
  std::string scheme;  ///< and whatever else tells it from other points of that scheme
  std::int64_t ranks = 1;
  std::int64_t seq_len = 0;
  Estimate seconds;
  std::optional<Range> seconds_range;
  std::optional<double> tflops;  ///< of all ranks
  std::optional<double> cpu_share;  ///< CPU time of the ranks over their time and threads: what others on the machine left them
  std::optional<double> verified_error;  ///< relative, the largest; empty: nothing verified
  /// Rate per rank, relative to the smallest rank count of the same series; empty in a series of one rank count.
  Estimate efficiency;
  Estimate exposed_share;             ///< of the time, [0, 1]
  Estimate memory_bytes;              ///< of the largest rank
  std::optional<Range> memory_range;  ///< over ranks
  std::vector<LayerPoint> layers;

  /// As if others had left the machine to the ranks.
  Estimate cpu_seconds() const;
};

struct CapacityPoint {
  std::string scheme;
  std::int64_t ranks = 1;
  std::optional<double> budget_bytes;  ///< of a rank
  Estimate longest;                    ///< tokens
  std::optional<double> ideal;  ///< tokens, in proportion to the ranks from the smallest rank count of the scheme on
  std::size_t tried = 0;        ///< lengths
};

struct Study {
  std::string kind;  ///< strong, weak or capacity
  nlohmann::json header;
  std::string first;  ///< when, as in the file; empty if it does not say
  std::string last;
  std::vector<std::string> predicted_from;  ///< machines, as "name (source)"
  std::vector<TimePoint> times;        ///< by scheme, tokens, ranks
  std::vector<CapacityPoint> longest;  ///< by scheme, ranks
};

/// Throws InputError that names the line of `path` where a field is missing or has a wrong type. Local.
Study study_from(const StudyContent& content, const std::string& path);

/// What two points share that are compared over ranks: the length, in a weak study the tokens of a rank.
double series_of(const Study& study, const TimePoint& point);

/// For the script that draws.
Json to_json(const Study& study);

}  // namespace annulus::launch
