/// What a rank did when: nested spans of time, for a trace and for the sums over a run.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "kernels/base/range_marks.hpp"

namespace annulus {

/// What a span is spent on.
enum class Activity : std::uint8_t {
  compute,        ///< kernels, packing, projections
  communication,  ///< waiting for rows, blocks and gradients: what the work did not hide
  agreement,      ///< waiting until all ranks are here: where work is uneven, it shows
  files,          ///< reading and writing
  other           ///< spans that hold others, such as a layer
};
inline constexpr std::size_t activities = 5;
std::string_view name(Activity activity);

/// Spans of one rank, on its own clock. Not for several threads.
class Timeline {
 public:
  using Clock = std::chrono::steady_clock;

  struct Span {
    Activity activity;
    const char* name;      ///< outlives the timeline
    std::int64_t number;   ///< of the layer, step or rank that the name speaks of; -1: none
    std::uint64_t bytes;   ///< that travelled; 0: none
    Clock::time_point begin;
    Clock::time_point end;
  };
  enum class Keep : std::uint8_t { sums, spans };
  explicit Timeline(Keep keep) : keep_(keep) {}

  /// A profiler is told of every span from here on.
  void tell(const RangeMarks& marks) { marks_ = marks; }

  /// A span more would take memory without bound: from here on they are only summed and counted.
  static constexpr std::size_t most_spans = std::size_t{1} << 20;

  const std::vector<Span>& spans() const { return spans_; }  ///< in the order in which they ended
  std::uint64_t dropped() const { return dropped_; }         ///< spans that are summed but not kept
  /// Seconds of an activity, those of spans within counted for their own activity alone.
  double seconds(Activity activity) const { return seconds_[static_cast<std::size_t>(activity)]; }

 private:
  friend class Timed;
  void add(const Span& span);

  Keep keep_;
  RangeMarks marks_;
  std::vector<Span> spans_;
  std::uint64_t dropped_ = 0;
  std::array<double, activities> seconds_{};
  double within_ = 0;  ///< seconds of spans that ended within the innermost open one
};

/// A span from here to the end of its scope; nothing where there is no timeline.
class Timed {
 public:
  Timed(Timeline* timeline, Activity activity, const char* name, std::int64_t number = -1);
  ~Timed();
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

  void set_bytes(std::uint64_t bytes) { span_.bytes = bytes; }

 private:
  Timeline* timeline_;
  Timeline::Span span_{};
  double within_before_ = 0;  ///< of the span around this one
};

}  // namespace annulus
