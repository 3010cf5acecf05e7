/// `annulus study`: measures a sweep of points, files each, goes on where it stopped.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "kernels/base/stopwatch.hpp"
#include "launch/calibrate/machine.hpp"
#include "launch/command.hpp"
#include "launch/machine_file.hpp"
#include "launch/memory.hpp"
#include "launch/numbers.hpp"
#include "launch/progress.hpp"
#include "launch/run/text.hpp"
#include "launch/stop_request.hpp"
#include "launch/study/kept.hpp"
#include "launch/study/measure.hpp"
#include "launch/study/pace.hpp"
#include "launch/study/record.hpp"
#include "launch/study/search.hpp"
#include "launch/study/sweep.hpp"
#include "launch/study/tables.hpp"
#include "runtime/comm/agreement.hpp"
#include "runtime/comm/placement.hpp"
#include "runtime/comm/vigil.hpp"

namespace annulus::launch {
namespace {

constexpr int calibration_samples = 3;

/// Collective: where the ranks of this job are.
forecast::Placement placement_of(const Communicator& world, const StudyOptions& options) {
  const Communicator node = world.node();
  std::array<std::uint64_t, 2> most{static_cast<std::uint64_t>(node.size()), static_cast<std::uint64_t>(fair_threads(node))};
  world.max(most);
  const int threads = options.request.scores.threads > 0 ? options.request.scores.threads : static_cast<int>(most[1]);
  return {.ranks = world.size(), .ranks_per_node = static_cast<int>(most[0]), .threads = threads};
}

class StudyRun {
 public:
  StudyRun(const Communicator& world, const StudyOptions& options)
      : world_(world), options_(options), job_(placement_of(world, options)), progress_(world) {
    together(world, [&] { sweep_ = make_sweep(options, job_); });
    read_machine_file();
    open_file();
    if (options.machine.empty()) calibrate();
    look_at_file();
  }
  ExitCode run();

 private:
  void open_file();
  void read_machine_file();
  void check_machine() const;
  void calibrate();
  bool is_filed(const StudyPoint& point) const;
  void look_at_file();
  void stop_if_asked(std::size_t next) const;
  std::string reason_to_stop(bool asked, std::size_t next) const;
  bool try_to_measure(std::size_t next);
  void measure(const StudyPoint& point);
  void append(nlohmann::json record, const StudyPoint& point);
  std::string advice(double expected, std::size_t next) const;
  void print_end() const;
  bool is_search() const { return options_.kind == StudyKind::capacity; }
  bool leads() const { return world_.rank() == 0; }
  bool has_room(const StudyPoint& point) const;

  const Communicator& world_;
  const StudyOptions& options_;
  forecast::Placement job_;
  ProgressLine progress_;
  Sweep sweep_;
  std::optional<StudyFile> file_;  ///< on rank 0
  forecast::Machine machine_;
  Stopwatch elapsed_;
  Pace pace_{options_, machine_};  ///< on rank 0
  std::size_t done_ = 0;
  std::vector<std::string> left_out_;  ///< points without room
};

void StudyRun::open_file() {
  const nlohmann::json header = study_header(world_, options_, job_);
  together(world_, [&] {
    if (leads()) file_.emplace(options_.results, header);
  });
  if (leads() && !file_->note().empty()) fmt::print("{}\n", file_->note());
}

void StudyRun::read_machine_file() {
  if (options_.machine.empty()) return;
  together(world_, [&] {
    machine_ = read_machine(options_.machine);
    check_machine();
  });
}

/// Without a file predictions start from this machine as it is now.
void StudyRun::calibrate() {
  progress_.show("calibration");
  CalibrateRequest request;
  request.backend = options_.request.scores.backend;
  request.samples = calibration_samples;
  request.dtypes = options_.dtypes;
  const AttentionSpec shape = model_of(sweep_.points[0].request).attention;
  if (request.dtypes.empty()) request.dtypes = {shape.dtype};
  request.head_dims = {shape.head_dim};
  machine_ = calibrate_machine(world_, request);
}

/// What no forecast can do without is missed now, and not behind hours of other points.
void StudyRun::check_machine() const {
  if (is_search() && options_.time_limit_seconds == 0) return;
  for (const StudyPoint& point : sweep_.points) {
    const AttentionSpec shape = model_of(point.request).attention;
    (void)forecast::kernel_speed(machine_, shape.dtype, shape.head_dim, kernels::Direction::forward);
    if (point.request.scores.backward) (void)forecast::kernel_speed(machine_, shape.dtype, shape.head_dim, kernels::Direction::backward);
    const forecast::Placement& placement = point.request.placement;
    if (placement.ranks_of_node() > 1) (void)forecast::link_speed(machine_, false);
    if (placement.nodes() > 1) (void)forecast::link_speed(machine_, true);
  }
}

/// Numbers that are there stay what they are: other repeats or another machine file are no reason to lose them, but one to say so.
void StudyRun::look_at_file() {
  together(world_, [&] {
    if (!leads()) return;
    (void)study_from(read_study(options_.results), options_.results);  // a record that cannot be shown is found now, not at the end
    fmt::print("{}", kept_text(*file_, sweep_.points, study_how(options_, machine_)));
    if (options_.time_limit_seconds == 0) return;
    for (const StudyPoint& point : sweep_.points) {
      if (const nlohmann::json* record = file_->find(point.key)) pace_.note(point, *record);
    }
  });
}

bool StudyRun::is_filed(const StudyPoint& point) const {
  std::array<std::uint64_t, 1> filed{leads() && file_->has(point.key) ? 1U : 0U};
  world_.max(filed);
  return filed[0] == 1;
}

/// What to do about a point that does not fit into what is left. On rank 0.
std::string StudyRun::advice(double expected, std::size_t next) const {
  const double limit = options_.time_limit_seconds;
  if (expected <= limit) return "run the same study again to go on";
  double shortest = expected;
  for (std::size_t i = next + 1; i < sweep_.points.size(); ++i) {
    if (!file_->has(sweep_.points[i].key)) shortest = std::min(shortest, pace_.expected(sweep_.points[i]));
  }
  const std::string more = fmt::format("run the same study again to go on, with a --time-limit above {}", seconds_text(expected));
  if (shortest <= limit) return more;
  return fmt::format("none of the points left fits into {}: {}", seconds_text(limit), more);
}

/// Why the study is to end before that point; empty if it is not. On rank 0.
std::string StudyRun::reason_to_stop(bool asked, std::size_t next) const {
  const std::string state = fmt::format("with {} of {} points in '{}'", done_, sweep_.points.size(), options_.results);
  if (asked) return fmt::format("stopped on request {}; run the same study again to go on", state);
  const double limit = options_.time_limit_seconds;
  if (limit == 0) return "";
  const StudyPoint& point = sweep_.points[next];
  const double expected = pace_.expected(point);
  const double left = std::max(0.0, limit - elapsed_.seconds());
  if (expected <= left && left > 0) return "";
  return fmt::format("stopped for --time-limit (the next point, {} ranks and {} tokens, takes about {}; {} were left) {}; {}",
                     point.request.placement.ranks, point.request.seq_len, seconds_text(expected), seconds_text(left), state,
                     advice(expected, next));
}

/// Collective: throws on all ranks if the study is to end before that point.
void StudyRun::stop_if_asked(std::size_t next) const {
  std::array<std::uint64_t, 1> asked{stop_asked() ? 1U : 0U};
  world_.max(asked);
  std::string reason;
  together(world_, [&] {
    if (leads()) reason = reason_to_stop(asked[0] > 0, next);
  });
  world_.broadcast(reason, 0);
  if (!reason.empty()) throw Error(ExitCode::stopped, reason);
}

/// The ranks that take part work, the others sleep; all learn how it went.
void StudyRun::measure(const StudyPoint& point) {
  const bool takes_part = world_.rank() < point.request.placement.ranks;
  const Communicator ranks = world_.split(takes_part ? 0 : 1);
  nlohmann::json record;
  Verdict verdict;
  if (takes_part) verdict = verdict_of([&] { record = measured_record(ranks, point, options_, machine_); });
  world_.barrier_asleep();
  agree(world_, verdict);
  append(std::move(record), point);
}

void StudyRun::append(nlohmann::json record, const StudyPoint& point) {
  together(world_, [&] {
    if (!leads()) return;
    if (options_.time_limit_seconds > 0) pace_.note(point, record);
    file_->append(std::move(record));
  });
}

/// Points that no rank has room for are left out, not run into the swap.
bool StudyRun::has_room(const StudyPoint& point) const {
  const auto budget = static_cast<std::uint64_t>(options_.memory);  // the first try beyond it, too
  const std::optional<std::uint64_t> needed = is_search() ? budget + budget / 16 : bytes_of(point.request);
  const Communicator node = world_.node();
  std::array<std::uint64_t, 1> room{available_memory() / static_cast<std::uint64_t>(std::min(node.size(), point.request.placement.ranks))};
  world_.min(room);
  return needed && *needed <= room[0];
}

/// False if the point is left out.
bool StudyRun::try_to_measure(std::size_t next) {
  const StudyPoint& point = sweep_.points[next];
  const int ranks = point.request.placement.ranks;
  if (!has_room(point)) {
    const std::string what = is_search() ? bytes_text(static_cast<double>(options_.memory)) + " for each"
                                         : size_text(point.request.seq_len) + " tokens";
    left_out_.push_back(fmt::format("{} ranks, {}, {}: it needs more memory than the node has", ranks, what, point.scheme));
    return false;
  }
  stop_if_asked(next);
  progress_.show(fmt::format("point {} of {}: {} ranks, {} tokens, {}", done_ + 1, sweep_.points.size(), ranks, point.request.seq_len,
                             point.scheme));
  measure(point);
  return true;
}

ExitCode StudyRun::run() {
  for (std::size_t next = 0; next < sweep_.points.size(); ++next) {
    if (is_filed(sweep_.points[next]) || try_to_measure(next)) ++done_;
  }
  if (done_ == 0) {
    throw ResourceError(fmt::format("no point of this study was measured ({}); try {}", left_out_.front(),
                                    is_search() ? "a smaller --memory" : "shorter contexts"));
  }
  print_end();
  return ExitCode::done;
}

void StudyRun::print_end() const {
  if (!leads()) return;
  const StudyContent content = read_study(options_.results);
  const Study study = study_from(content, options_.results);
  fmt::print("{}", facts_text(study_facts(study, options_.results)));
  for (const TitledTable& titled : study_tables(study)) fmt::print("\n{}\n{}\n\n{}", titled.title, titled.note, titled.table.text());
  for (const std::string& line : sweep_.skipped) fmt::print("\nleft out: {}", line);
  for (const std::string& line : left_out_) fmt::print("\nleft out: {}", line);
  fmt::print("\npictures: annulus report {}\n", options_.results);
}

ExitCode study(const Communicator& world, const StudyOptions& options) {
  set_comm_timeout(options.comm_timeout);
  const ExitCode code = StudyRun(world, options).run();
  ignore_stop();
  return code;
}

Job parse(std::span<const std::string> arguments) {
  StudyOptions options = parse_study_options(arguments);
  listen_for_stop();
  return [options = std::move(options)](const Communicator& world) { return study(world, options); };
}

}  // namespace

Command study_command() { return {"study", "measures contexts, rank counts and schemes; resumes", study_help, parse}; }

}  // namespace annulus::launch
