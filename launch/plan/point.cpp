/// Resolves what is open, then adds up.
// SPDX-License-Identifier: Apache-2.0
#include "launch/plan/point.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "kernels/base/error.hpp"

namespace annulus::launch {
namespace {

using kernels::Direction;
using stack::LayerKind;
using stack::LocalHalo;

constexpr std::int64_t most_stripes = std::int64_t{1} << 22;  ///< pieces that a plan lists one by one

/// Also of rows that do not run on this machine or that this build lacks: sizes do not ask for either.
const kernels::KernelTable& sizes_of(const std::string& backend, DType dtype) {
  const auto tables = kernels::kernel_tables();
  const auto row = std::ranges::find(tables, backend, &kernels::KernelTable::name);
  return row != tables.end() ? *row : kernels::kernel_table(backend, dtype);
}

LayoutKind chosen_layout(const PointRequest& request, const stack::ModelSpec& model) {
  const bool uneven = model.has(LayerKind::global) && model.attention.mask.causal;
  return request.scheme.layout.value_or(uneven ? LayoutKind::zigzag : LayoutKind::contiguous);
}

/// Blocks of GPUs stay there, and go round a flat ring. Other ways take them through host memory: no forecast knows what that costs.
ExchangeKind planned_exchange(const PointRequest& request) {
  const ExchangeKind wanted = request.scheme.exchange;
  const bool on_gpu = request.scores.backend == "cuda";
  check_device_exchange(wanted, on_gpu);
  if (!on_gpu) return resolve_exchange(wanted, request.placement);
  if (wanted == ExchangeKind::automatic || wanted == ExchangeKind::device) return ExchangeKind::device;
  throw UsageError(fmt::format("--exchange {} is not forecast for GPUs (blocks would go through host memory); try auto or device",
                               name(wanted)));
}

forecast::StackPlan resolved(const PointRequest& request, const stack::ModelSpec& model) {
  forecast::StackPlan plan{.layout = {chosen_layout(request, model)},
                           .placement = request.placement,
                           .exchange = planned_exchange(request),
                           .backward = request.scores.backward};
  if (plan.layout.kind == LayoutKind::striped && request.seq_len > most_stripes) {
    throw UsageError("--layout striped is planned up to 4M tokens (each is a piece of its own); try zigzag");
  }
  plan.local_halo = stack::resolve(request.scheme.local_halo, model, plan.layout, plan.placement.ranks);
  return plan;
}

/// Whose slots a rank has. Of a GPU all that a rank holds counts as the GPU's: those of messages. On one node nothing leaves
/// the only group of `nodes`: those of `shared`.
ExchangeKind slots_of(const forecast::StackPlan& plan) {
  if (plan.exchange == ExchangeKind::device) return ExchangeKind::messages;
  const bool one_group = plan.exchange == ExchangeKind::nodes && plan.placement.nodes() == 1;
  return one_group ? ExchangeKind::shared : plan.exchange;
}

std::vector<stack::MemoryItem> memory_of(const PointRequest& request, const stack::ModelSpec& model,
                                         const forecast::StackPlan& plan, const kernels::KernelTable& table) {
  return stack::memory_plan(model,
                            {.layout = plan.layout,
                             .ranks = plan.placement.ranks,
                             .threads = plan.placement.threads,
                             .direction = request.scores.backward ? Direction::backward : Direction::forward,
                             .exchange = slots_of(plan),
                             .local_halo = plan.local_halo,
                             .verify_rows = request.verify_rows,
                             .file_windows = request.files,
                             .process = request.files},
                            table);
}

}  // namespace

stack::ModelSpec model_of(const PointRequest& request) {
  stack::ModelSpec model = chosen_model(request.model, request.scores);
  model.attention.batch = request.batch;
  model.attention.seq_q = model.attention.seq_k = request.seq_len;
  model.attention.dtype = request.scores.dtype.value_or(DType::f32);
  stack::check(model);
  return model;
}

double PlanPoint::layer_seconds(LayerKind kind) const {
  double slowest = 0;
  for (const forecast::LayerForecast& layer : layers) {
    if (layer.kind == kind) slowest = std::max(slowest, layer.seconds());
  }
  return slowest;
}

PlanPoint plan_point(const PointRequest& request, const forecast::Machine* machine) {
  PlanPoint point{.model = model_of(request), .plan = {}, .memory = {}, .layers = {}};
  point.plan = resolved(request, point.model);
  const kernels::KernelTable& table = sizes_of(request.scores.backend, point.model.attention.dtype);
  point.memory = memory_of(request, point.model, point.plan, table);
  if (machine != nullptr) point.layers = forecast::forecast_stack(point.model, point.plan, table, *machine);
  return point;
}

std::optional<std::uint64_t> bytes_of(const PointRequest& request) {
  try {
    const stack::ModelSpec model = model_of(request);
    const kernels::KernelTable& table = sizes_of(request.scores.backend, model.attention.dtype);
    return stack::total_bytes(memory_of(request, model, resolved(request, model), table));
  } catch (const ResourceError&) {
    return std::nullopt;
  }
}

std::int64_t most_context(const Scheme& scheme) {
  return scheme.layout == LayoutKind::striped ? most_stripes : std::int64_t{1} << 30;
}

std::int64_t longest_context(PointRequest request, std::uint64_t budget, std::int64_t step) {
  const auto fits = [&](std::int64_t steps) {
    request.seq_len = steps * step;
    const std::optional<std::uint64_t> bytes = bytes_of(request);
    return bytes && *bytes <= budget;
  };
  const std::int64_t limit = most_context(request.scheme) / step;
  std::int64_t fitting = 0;
  std::int64_t beyond = 1;
  for (; beyond <= limit && fits(beyond); beyond *= 2) fitting = beyond;
  if (beyond > limit) return limit * step;
  while (beyond - fitting > 1) {
    const std::int64_t middle = (fitting + beyond) / 2;
    (fits(middle) ? fitting : beyond) = middle;
  }
  return fitting * step;
}

int fewest_ranks(PointRequest request, std::uint64_t budget, int most) {
  const auto fits = [&](int ranks) {
    request.placement.ranks = ranks;
    const std::optional<std::uint64_t> bytes = bytes_of(request);
    return bytes && *bytes <= budget;
  };
  int failing = 0;
  int enough = 1;
  for (; enough < most && !fits(enough); enough = std::min(2 * enough, most)) failing = enough;
  if (enough == most && !fits(most)) return 0;
  while (enough - failing > 1) {
    const int middle = failing + (enough - failing) / 2;
    (fits(middle) ? enough : failing) = middle;
  }
  return enough;
}

std::vector<PlanPoint> schemes_by_time(const PointRequest& request, const forecast::Machine& machine) {
  std::vector<PlanPoint> points;
  const bool has_local = model_of(request).has(LayerKind::local);
  for (const LayoutKind layout : {LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped}) {
    for (const ExchangeKind exchange : {ExchangeKind::shared, ExchangeKind::nodes, ExchangeKind::messages, ExchangeKind::device}) {
      for (const LocalHalo halo : {LocalHalo::resident, LocalHalo::exchange}) {
        if (!has_local && halo == LocalHalo::resident) continue;
        PointRequest tried = request;
        tried.scheme = {layout, exchange, halo};
        try {
          points.push_back(plan_point(tried, &machine));
        } catch (const UsageError&) {
          continue;  // not with this model or placement
        }
      }
    }
  }
  std::ranges::stable_sort(points, {}, [](const PlanPoint& point) { return point.totals().seconds; });
  return points;
}

}  // namespace annulus::launch
