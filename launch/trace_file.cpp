/// Spans become the trace event format; clocks are compared by messages there and back.
// SPDX-License-Identifier: Apache-2.0
#include "launch/trace_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>

#include "launch/run/text.hpp"
#include "launch/table.hpp"
#include "runtime/checkpoint/replaced_file.hpp"
#include "runtime/comm/agreement.hpp"
#include "runtime/comm/clock_offset.hpp"
#include "runtime/comm/placement.hpp"

namespace annulus::launch {
namespace {

constexpr int spans_tag = 92;
constexpr std::size_t piece_bytes = std::size_t{1} << 20;

using Nanoseconds = std::int64_t;

Nanoseconds since_epoch(Timeline::Clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

template <class T>
void send_value(const Communicator& world, const T& value, int to, int tag) {
  world.send(std::as_bytes(std::span(&value, 1)), to, tag);
}

template <class T>
T receive_value(const Communicator& world, int from, int tag) {
  T value{};
  world.receive(std::as_writable_bytes(std::span(&value, 1)), from, tag);
  return value;
}

std::string rank_text(int rank) {
  return fmt::format(R"({{"name":"process_name","ph":"M","pid":{0},"args":{{"name":"rank {0} on {1}"}}}},
{{"name":"process_sort_index","ph":"M","pid":{0},"args":{{"sort_index":{0}}}}})",
                     rank, host_name());
}

std::string span_text(const Timeline::Span& span, int rank, Nanoseconds shift) {
  const auto microseconds = [](Nanoseconds time) { return static_cast<double>(time) * 1e-3; };
  const Nanoseconds begin = since_epoch(span.begin);
  const std::string number = span.number < 0 ? "" : fmt::format(" {}", span.number);
  const std::string bytes = span.bytes == 0 ? "" : fmt::format(R"(,"args":{{"bytes":{}}})", span.bytes);
  return fmt::format(R"({{"name":"{}{}","cat":"{}","ph":"X","ts":{:.3f},"dur":{:.3f},"pid":{},"tid":0{}}})", span.name,
                     number, name(span.activity), microseconds(begin + shift), microseconds(since_epoch(span.end) - begin),
                     rank, bytes);
}

/// Calls take(text) for pieces of a rank's events, each behind a comma but for the very first of all.
template <class Take>
void for_each_piece(const Timeline& mine, int rank, Nanoseconds shift, Take&& take) {
  std::string text = (rank == 0 ? "" : ",\n") + rank_text(rank);
  for (const Timeline::Span& span : mine.spans()) {
    text += ",\n" + span_text(span, rank, shift);
    if (text.size() < piece_bytes) continue;
    take(text);
    text.clear();
  }
  if (mine.dropped() > 0) {
    text += fmt::format(R"(,
{{"name":"{} more spans were not kept","ph":"M","pid":{}}})",
                        mine.dropped(), rank);
  }
  take(text);
}

/// The first begin of all ranks, on rank 0's clock.
Nanoseconds first_begin(const Communicator& world, const Timeline& mine, Nanoseconds offset) {
  auto first = static_cast<std::uint64_t>(std::numeric_limits<Nanoseconds>::max());
  for (const Timeline::Span& span : mine.spans()) {
    first = std::min(first, static_cast<std::uint64_t>(since_epoch(span.begin) + offset));
  }
  std::array<std::uint64_t, 1> least{first};
  world.min(least);
  return static_cast<Nanoseconds>(least[0]);
}

/// On all ranks; rank 0 hears every rank out even when it cannot write any more.
Verdict write_events(const Communicator& world, const Timeline& mine, Nanoseconds shift, const ReplacedFile* file) {
  Verdict written;
  const auto append = [&](std::string_view text) {
    if (written.code == ExitCode::done) written = verdict_of([&] { file->append(text); });
  };
  if (world.rank() != 0) {
    const auto send = [&](const std::string& text) {
      send_value(world, text.size(), 0, spans_tag);
      world.send(std::as_bytes(std::span(text)), 0, spans_tag);
    };
    for_each_piece(mine, world.rank(), shift, send);
    send_value(world, std::size_t{0}, 0, spans_tag);
    return written;
  }
  append("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n");
  for_each_piece(mine, 0, shift, append);
  for (int rank = 1; rank < world.size(); ++rank) {
    while (const auto size = receive_value<std::size_t>(world, rank, spans_tag)) {
      std::string text(size, ' ');
      world.receive(std::as_writable_bytes(std::span(text)), rank, spans_tag);
      append(text);
    }
  }
  append("\n]}\n");
  return written;
}

}  // namespace

TraceFile::TraceFile(const Communicator& world, std::string path) : path_(std::move(path)) {
  together(world, [&] {
    if (world.rank() == 0 && is_wanted()) const ReplacedFile probe(path_);
  });
}

void TraceFile::write(const Communicator& world, const Timeline& mine) const {
  if (!is_wanted()) return;
  std::unique_ptr<ReplacedFile> file;
  together(world, [&] {
    if (world.rank() == 0) file = std::make_unique<ReplacedFile>(path_);
  });
  const auto now = [] { return since_epoch(Timeline::Clock::now()); };
  Nanoseconds offset = 0;
  for (int rank = 1; rank < world.size(); ++rank) {
    if (world.rank() != 0 && world.rank() != rank) continue;
    const Nanoseconds of_rank = clock_offset(world, rank, now);
    if (world.rank() == rank) offset = of_rank;
  }
  const Nanoseconds shift = offset - first_begin(world, mine, offset);
  agree(world, write_events(world, mine, shift, file.get()));
  together(world, [&] {
    if (file) file->commit();
  });
}

ActivitySeconds activity_seconds(const Communicator& world, const Timeline& mine) {
  ActivitySeconds ranks(static_cast<std::size_t>(world.size()));
  for (std::size_t activity = 0; activity < activities; ++activity) {
    const double seconds = mine.seconds(static_cast<Activity>(activity));
    const auto bits = world.all_gather(std::bit_cast<std::uint64_t>(seconds));
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) ranks[rank][activity] = std::bit_cast<double>(bits[rank]);
  }
  return ranks;
}

std::string activity_table(const ActivitySeconds& ranks) {
  Table table({"rank", "compute", "exposed comm", "waiting for ranks", "files", "other"});
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    std::vector<std::string> row{std::to_string(rank)};
    for (const double seconds : ranks[rank]) row.push_back(seconds_text(seconds));
    table.add(row);
  }
  return table.text();
}

std::string activity_text(const ActivitySeconds& ranks) {
  std::array<double, activities> sums{};
  double all = 0;
  for (const auto& rank : ranks) {
    for (std::size_t activity = 0; activity < activities; ++activity) sums[activity] += rank[activity];
    all = std::accumulate(rank.begin(), rank.end(), all);
  }
  const auto share = [&](Activity activity) {
    return all > 0 ? 100 * sums[static_cast<std::size_t>(activity)] / all : 0;
  };
  return fmt::format("compute {:.1f} %, exposed communication {:.1f} %, waiting for ranks {:.1f} %", share(Activity::compute),
                     share(Activity::communication), share(Activity::agreement));
}

}  // namespace annulus::launch
