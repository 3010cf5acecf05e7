/// What `annulus study` is asked.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "launch/plan/point.hpp"

namespace annulus::launch {

/// What grows with the ranks: nothing (strong), the sequence (weak), or as far as the memory lets it (capacity).
enum class StudyKind { strong, weak, capacity };
std::string_view name(StudyKind kind);

struct StudyOptions {
  std::string kind_word;
  std::string results;
  StudyKind kind = StudyKind::strong;
  PointRequest request;  ///< what is not swept
  std::vector<std::int64_t> seq_lens;   ///< strong: tokens; weak: of one rank; capacity: none
  std::vector<std::int64_t> ranks;      ///< empty: 1, 2, 4, ... and all
  std::vector<std::optional<LayoutKind>> layouts;  ///< empty: as --layout; none: auto
  std::vector<ExchangeKind> exchanges;  ///< empty: as --exchange; likewise the others
  std::vector<stack::LocalHalo> local_halos;
  std::vector<DType> dtypes;
  std::vector<std::string> patterns;
  std::int64_t repeats = 5;
  std::int64_t warmups = 1;
  std::int64_t verify_rows = 4;

  /// Of a point, before the one that counts and with it.
  std::int64_t runs() const { return (warmups > 1 ? warmups : 1) + repeats; }
  std::int64_t memory = 0;     ///< capacity: budget of a rank in bytes
  std::string machine;         ///< empty: calibrated at the start
  double time_limit_seconds = 0;  ///< 0: none
  double comm_timeout = default_comm_timeout;
};

/// Throws UsageError. Local.
StudyOptions parse_study_options(std::span<const std::string> arguments);
std::string study_help();

}  // namespace annulus::launch
