/// One loop per list.
// SPDX-License-Identifier: Apache-2.0
#include "launch/study/sweep.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "kernels/base/checked.hpp"
#include "kernels/base/error.hpp"
#include "kernels/kernel_table.hpp"
#include "launch/model_options.hpp"
#include "launch/report.hpp"
#include "launch/run/text.hpp"

namespace annulus::launch {
namespace {

constexpr std::int64_t any_length = 1024;  ///< of capacity points, whose length is searched

/// A list, or the one value that stands for it.
template <class Value, class One>
std::vector<One> choices(const std::vector<Value>& list, One otherwise) {
  if (list.empty()) return {otherwise};
  return {list.begin(), list.end()};
}

std::vector<std::int64_t> rank_counts(const StudyOptions& options, const forecast::Placement& job) {
  if (!options.ranks.empty()) {
    if (options.ranks.back() <= job.ranks) return options.ranks;
    throw UsageError(fmt::format("--ranks {} in a job of {} (they are not there); try mpirun -n {}", options.ranks.back(),
                                 job.ranks, options.ranks.back()));
  }
  std::vector<std::int64_t> counts;
  for (std::int64_t ranks = 1; ranks < job.ranks; ranks *= 2) counts.push_back(ranks);
  counts.push_back(job.ranks);
  return counts;
}

std::string pattern_word(const ModelOptions& model, const stack::ModelSpec& spec) {
  std::string word;
  std::size_t local = 0;
  for (const char kind : spec.pattern) {
    word += kind;
    if (kind != 'L' || model.windows.empty()) continue;
    const std::int64_t window = model.windows[local++ % model.windows.size()];
    if (window > 0) word += std::to_string(window);
  }
  return word;
}

/// Resolves a request as it would run, and names it.
StudyPoint named(const StudyOptions& options, PointRequest request) {
  const bool capacity = options.kind == StudyKind::capacity;
  if (capacity) request.seq_len = any_length;
  const PlanPoint plan = plan_point(request, nullptr);
  const AttentionSpec& shape = plan.model.attention;
  const std::string pattern = pattern_word(request.model, plan.model);
  const WindowSize window = plan.model.local_masks.empty() ? WindowSize{} : plan.model.local_masks[0].window_size;
  StudyPoint point{.request = request, .point = {}, .key = {}, .scheme = {}};
  point.point = {{"ranks", request.placement.ranks},
                 {"threads", request.placement.threads},
                 {"seq_len", capacity ? 0 : request.seq_len},
                 {"batch", request.batch},
                 {"layers", plan.model.layers},
                 {"pattern", pattern},
                 {"heads", shape.heads},
                 {"kv_heads", shape.kv_heads},
                 {"head_dim", shape.head_dim},
                 {"dtype", name(shape.dtype)},
                 {"window", window.is_set() ? nlohmann::json(window.left + 1) : nlohmann::json(nullptr)},
                 {"layout", name(plan.plan.layout.kind)},
                 {"exchange", name(plan.plan.exchange)},
                 {"local_halo", stack::name(plan.plan.local_halo)},
                 {"backend", kernels::kernel_table(request.scores.backend, shape.dtype).name},
                 {"direction", request.scores.backward ? "both" : "forward"},
                 {"model", model_json(plan.model, request.model.preset)}};
  if (capacity) point.point["budget_bytes"] = options.memory;
  point.key = study_key(point.point);
  point.scheme = fmt::format("{}, {}", name(plan.plan.layout.kind), name(plan.plan.exchange));
  if (plan.model.has(stack::LayerKind::local)) point.scheme += fmt::format(", {}", stack::name(plan.plan.local_halo));
  point.scheme += fmt::format(", {}, {}", pattern, name(shape.dtype));
  return point;
}

/// All schemes of one length and rank count.
class SchemeLoops {
 public:
  SchemeLoops(const StudyOptions& options, PointRequest request, Sweep& sweep, std::set<std::string>& keys)
      : options_(options), request_(std::move(request)), sweep_(sweep), keys_(keys) {}

  void run() {
    for (const std::string& pattern : choices(options_.patterns, std::string())) {
      set_layers(pattern);
      for (const std::optional<DType> dtype : choices(options_.dtypes, request_.scores.dtype)) {
        request_.scores.dtype = dtype;
        (void)model_of(request_);  // a model that cannot be is the user's fault, and no scheme to leave out
        run_layouts();
      }
    }
  }

 private:
  void run_layouts() {
    const Scheme one = options_.request.scheme;
    for (const std::optional<LayoutKind> layout : choices(options_.layouts, one.layout)) {
      for (const ExchangeKind exchange : choices(options_.exchanges, one.exchange)) {
        for (const stack::LocalHalo halo : choices(options_.local_halos, one.local_halo)) {
          request_.scheme = {layout, exchange, halo};
          add();
        }
      }
    }
  }
  /// Beside patterns with local layers one without has nothing to narrow.
  void set_layers(const std::string& pattern) {
    request_.scores = options_.request.scores;
    if (pattern.empty()) return;
    set_pattern(request_.model, pattern);
    const auto has_local = [](const std::string& word) { return word.find('L') != std::string::npos; };
    if (has_local(pattern) || std::ranges::none_of(options_.patterns, has_local)) return;
    request_.scores.mask = {.causal = request_.scores.mask.causal};
    request_.scores.window_given = request_.scores.sliding_window_given = false;
  }
  void add() {
    try {
      StudyPoint point = named(options_, request_);
      if (keys_.insert(point.key).second) sweep_.points.push_back(std::move(point));
    } catch (const UsageError& error) {
      const std::string why = fmt::format("{} ranks, {}: {}", request_.placement.ranks,
                                          request_.scheme.layout ? name(*request_.scheme.layout) : "auto", error.what());
      if (std::ranges::find(sweep_.skipped, why) == sweep_.skipped.end()) sweep_.skipped.push_back(why);
    }
  }

  const StudyOptions& options_;
  PointRequest request_;
  Sweep& sweep_;
  std::set<std::string>& keys_;
};

}  // namespace

Sweep make_sweep(const StudyOptions& options, const forecast::Placement& job) {
  Sweep sweep;
  std::set<std::string> keys;
  const std::vector<std::int64_t> counts = rank_counts(options, job);
  for (const std::int64_t tokens : choices(options.seq_lens, any_length)) {
    for (const std::int64_t ranks : counts) {
      PointRequest request = options.request;
      request.placement = job;
      request.placement.ranks = static_cast<int>(ranks);
      request.seq_len = options.kind == StudyKind::weak ? static_cast<std::int64_t>(checked_product({tokens, ranks})) : tokens;
      SchemeLoops(options, std::move(request), sweep, keys).run();
    }
  }
  const auto has_local = [](const StudyPoint& point) { return model_of(point.request).has(stack::LayerKind::local); };
  const stack::LocalHalo halo = options.local_halos.empty() ? options.request.scheme.local_halo : options.local_halos.front();
  check_halo(halo, sweep.points.empty() || std::ranges::any_of(sweep.points, has_local));
  if (sweep.points.empty()) {
    throw UsageError("no point of this study can be run (" + sweep.skipped.front() + ")");
  }
  return sweep;
}

}  // namespace annulus::launch
