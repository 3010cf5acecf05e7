/// `annulus plan`: what a run will take, before there is a machine to run it on.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <annulus/version.hpp>

#include <algorithm>
#include <optional>
#include <string_view>

#include "kernels/base/error.hpp"
#include "launch/command.hpp"
#include "launch/machine_file.hpp"
#include "launch/memory.hpp"
#include "launch/model_options.hpp"
#include "launch/numbers.hpp"
#include "launch/plan/cost_tables.hpp"
#include "launch/plan/mask_picture.hpp"
#include "launch/plan/options.hpp"
#include "launch/plan/text.hpp"
#include "launch/run/text.hpp"
#include "launch/table.hpp"
#include "runtime/checkpoint/replaced_file.hpp"
#include "runtime/engine/attention_plan.hpp"

namespace annulus::launch {
namespace {

constexpr int most_ranks = 16384;

/// Of the first local layer; without a window what models often take.
Band quoted_window(const stack::ModelSpec& model) {
  if (model.local_masks.empty() || !model.local_masks[0].window_size.is_set()) return sliding(4096);
  return {model.local_masks[0].causal, model.local_masks[0].window_size};
}

/// Of the first layer.
Meeting meeting_in(const PlanPoint& point) {
  const forecast::Placement& placement = point.plan.placement;
  const bool resident = point.model.kind(0) == stack::LayerKind::local && point.plan.local_halo == stack::LocalHalo::resident;
  const AttentionPlan plan(point.model.layer(0).attention, point.plan.layout, {0, placement.ranks});
  const ExchangeKind exchange = point.plan.exchange;
  const int group = exchange == ExchangeKind::shared ? placement.ranks : exchange == ExchangeKind::nodes ? placement.ranks_of_node() : 1;
  return {.exchange = exchange, .group_size = group, .route = resident ? Route::halo : plan.halo() ? Route::direct : Route::ring};
}

class Planner {
 public:
  explicit Planner(PlanOptions options) : options_(std::move(options)) {
    if (!options_.machine.empty()) machine_ = read_machine(options_.machine);
    if (machine_ && options_.request.scores.backend == "auto") options_.request.scores.backend = machine_->backend;
  }

  ExitCode run() {
    check_halo(options_.request.scheme.local_halo, model_of(request(options_.seq_lens.front(), 1)).has(stack::LayerKind::local));
    for (const std::int64_t seq_len : options_.seq_lens) {
      for (const std::int64_t ranks : options_.ranks) points_.push_back(point(seq_len, ranks));
    }
    if (budget(1) > 0) find_extremes();
    if (options_.compare) schemes_ = schemes_by_time(request(options_.seq_lens.back(), options_.ranks.back()), *machine_);
    if (!options_.mask_picture.empty()) draw_mask();
    const std::string tables = options_.tables ? tables_text() : "";  // first: what is too large leaves no half of an output
    write_report(options_.request.scores.report, json());
    if (options_.request.scores.report != "-") print(tables);
    return ExitCode::done;
  }

 private:
  /// None where it does not know the links that these ranks would use.
  const forecast::Machine* machine(const forecast::Placement& placement) const {
    return machine_ && forecast::knows_links(*machine_, placement) ? &*machine_ : nullptr;
  }
  PlanPoint point(std::int64_t seq_len, std::int64_t ranks) const {
    const PointRequest of_point = request(seq_len, ranks);
    return plan_point(of_point, machine(of_point.placement));
  }
  int threads() const { return std::max(options_.request.scores.threads, 1); }
  int ranks_per_node() const {
    if (options_.ranks_per_node > 0) return static_cast<int>(std::min<std::int64_t>(options_.ranks_per_node, most_ranks));
    return machine_ ? std::max(machine_->cores_per_node / threads(), 1) : most_ranks;
  }
  PointRequest request(std::int64_t seq_len, std::int64_t ranks) const {
    PointRequest request = options_.request;
    request.seq_len = seq_len;
    request.placement = {.ranks = static_cast<int>(ranks), .ranks_per_node = ranks_per_node(), .threads = threads()};
    return request;
  }
  /// Bytes that a rank may take; 0 if nothing says.
  std::uint64_t budget(std::int64_t ranks) const {
    if (options_.memory > 0) return static_cast<std::uint64_t>(options_.memory);
    if (!machine_) return 0;
    // The memory of a node's GPUs is not one: it is theirs alone.
    const bool on_gpu = options_.request.scores.backend == "cuda";
    const int parts = on_gpu ? machine_->cores_per_node : request(1, ranks).placement.ranks_of_node();
    return machine_->memory_per_node / static_cast<std::uint64_t>(parts);
  }
  /// That read in place before blocks go on to the next node; 1 where rings are flat.
  int ranks_of_node_ring() const {
    return options_.request.scores.backend == "cuda" || ranks_per_node() == most_ranks ? 1 : ranks_per_node();
  }
  void find_extremes();
  Json json() const;
  void print(const std::string& tables) const;
  void print_facts() const;
  std::vector<stack::Preset> quoted_models() const;
  std::string tables_text() const;
  void draw_mask() const;

  PlanOptions options_;
  std::optional<forecast::Machine> machine_;
  std::vector<PlanPoint> points_;
  std::vector<Extreme> longest_;
  std::vector<Extreme> fewest_;
  std::vector<PlanPoint> schemes_;
};

void Planner::find_extremes() {
  for (const std::int64_t ranks : options_.ranks) {
    const PointRequest any = request(1, ranks);
    Extreme extreme{.seq_len = longest_context(any, budget(ranks)), .ranks = static_cast<int>(ranks), .point = {}};
    extreme.goes_on = extreme.seq_len >= most_context(any.scheme);
    if (extreme.seq_len > 0) extreme.point = point(extreme.seq_len, ranks);
    longest_.push_back(std::move(extreme));
  }
  const std::uint64_t of_full_node = budget(ranks_per_node());
  for (const std::int64_t seq_len : options_.seq_lens) {
    Extreme extreme{.seq_len = seq_len, .ranks = fewest_ranks(request(seq_len, 1), of_full_node, most_ranks), .point = {}};
    if (extreme.ranks > 0) extreme.point = point(seq_len, extreme.ranks);
    fewest_.push_back(std::move(extreme));
  }
}

Json Planner::json() const {
  Json points = Json::array();
  for (const PlanPoint& point : points_) points.push_back(point_to_json(point));
  Json longest = Json::array();
  for (const Extreme& extreme : longest_) {
    longest.push_back({{"ranks", extreme.ranks}, {"seq_len", extreme.seq_len}, {"goes_on", extreme.goes_on}});
  }
  Json fewest = Json::array();
  for (const Extreme& extreme : fewest_) fewest.push_back({{"seq_len", extreme.seq_len}, {"ranks", extreme.ranks}});
  Json schemes = Json::array();
  for (const PlanPoint& point : schemes_) schemes.push_back(point_to_json(point));
  return {{"command", "plan"},
          {"version", ANNULUS_VERSION},
          {"machine", machine_ ? Json(machine_->name) : Json(nullptr)},
          {"model", model_json(points_[0].model, options_.request.model.preset)},
          {"points", points},
          {"longest_context", longest_.empty() ? Json(nullptr) : longest},
          {"fewest_ranks", fewest_.empty() ? Json(nullptr) : fewest},
          {"schemes", schemes_.empty() ? Json(nullptr) : schemes},
          {"tables", options_.tables
                         ? cost_tables_json(options_.seq_lens, quoted_window(points_[0].model), quoted_models())
                         : Json(nullptr)}};
}

void Planner::print_facts() const {
  fmt::print(
      "{}\n",
      facts_text({{"model", model_text(points_[0].model)},
                  {"machine", machine_ ? fmt::format("{} ({})", machine_->name, machine_->source)
                                       : "none (memory alone; --machine FILE.toml forecasts time and traffic)"},
                  {"ranks x threads",
                   fmt::format("{} to a node x {}",
                               ranks_per_node() == most_ranks ? "all" : std::to_string(ranks_per_node()), threads())},
                  {"directions", options_.request.scores.backward ? "forward and backward" : "forward"}}));
}

/// The planned one first.
std::vector<stack::Preset> Planner::quoted_models() const {
  const stack::ModelSpec& model = points_[0].model;
  const std::string& preset = options_.request.model.preset;
  std::vector<stack::Preset> models{{preset.empty() ? std::string_view("this model") : std::string_view(preset), model}};
  for (const stack::Preset& other : stack::presets()) {
    if (other.name != models[0].name) models.push_back(other);
  }
  return models;
}

std::string Planner::tables_text() const {
  return fmt::format("\n{}\n{}\n{}", score_table(options_.seq_lens),
                     window_table(options_.seq_lens, quoted_window(points_[0].model)),
                     kv_table(quoted_models(), options_.seq_lens.back()));
}

void Planner::draw_mask() const {
  const PlanPoint point = plan_point(request(options_.seq_lens.front(), options_.ranks.back()), nullptr);
  const AttentionSpec spec = point.model.layer(0).attention;
  ReplacedFile file(options_.mask_picture);
  file.append(mask_picture(Mask(spec.mask, spec.seq_q, spec.seq_k), point.plan.layout, point.plan.placement.ranks, meeting_in(point)));
  file.commit();
}

void Planner::print(const std::string& tables) const {
  print_facts();
  fmt::print("{}", points_table(points_, [this](std::int64_t ranks) { return budget(ranks); }));
  if (machine_ && !std::ranges::all_of(points_, &PlanPoint::has_times)) {
    const bool several = std::ranges::any_of(points_, [](const PlanPoint& point) { return point.plan.placement.nodes() > 1; });
    const bool between = several && !machine_->network;
    fmt::print("-: the machine does not say how fast {} is; `annulus calibrate` on {} does\n",
               between ? "the network between nodes" : "a message between ranks of a node", between ? "two nodes" : "two ranks");
  }
  if (options_.items || points_.size() == 1) {
    for (const PlanPoint& point : points_) fmt::print("\n{}", items_table(point));
  }
  if (!longest_.empty()) {
    fmt::print("\nWithin {} of memory per rank:\n{}\n{}", bytes_text(static_cast<double>(budget(ranks_per_node()))),
               longest_table(longest_), fewest_table(fewest_, most_ranks));
  }
  if (!schemes_.empty()) fmt::print("\nSchemes, the quickest first:\n{}", schemes_table(schemes_));
  if (machine_ && (machine_->node || machine_->network)) {
    fmt::print(
        "\nRows per rank from which a hop hides behind what is computed until the next one (global layers; shared: "
        "nothing hops):\n{}",
        thresholds_table(points_[0].model.attention, *machine_, threads(), ranks_of_node_ring()));
  }
  fmt::print("{}", tables);
  if (!options_.mask_picture.empty()) fmt::print("\nmask drawn: {}\n", options_.mask_picture);
}

ExitCode plan(std::span<const std::string> arguments) { return Planner(parse_plan_options(arguments)).run(); }

}  // namespace

Command plan_command() { return {"plan", "memory, traffic and time of a run, forecast without MPI", plan_help, nullptr, plan}; }

}  // namespace annulus::launch
