/// One point of a scaling plan or study: a model over so many tokens on so many ranks. Pure arithmetic, no MPI.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "launch/model_options.hpp"
#include "runtime/forecast/stack_forecast.hpp"
#include "runtime/stack/memory_plan.hpp"

namespace annulus::launch {

/// What is left open is chosen as `run` does.
struct Scheme {
  std::optional<LayoutKind> layout;
  ExchangeKind exchange = ExchangeKind::automatic;
  stack::LocalHalo local_halo = stack::LocalHalo::automatic;
};

struct PointRequest {
  ModelOptions model;
  AttentionOptions scores;  ///< mask, dtype, backend, backward
  Scheme scheme;
  std::int64_t batch = 1;
  std::int64_t seq_len = 0;
  forecast::Placement placement;
  std::int64_t verify_rows = 0;
  bool files = true;  ///< reads tokens, takes a digest: not in a study
};

/// Longer contexts of that scheme are not searched.
std::int64_t most_context(const Scheme& scheme);

/// A model over that many tokens. Throws UsageError.
stack::ModelSpec model_of(const PointRequest& request);

/// Everything resolved.
struct PlanPoint {
  stack::ModelSpec model;
  forecast::StackPlan plan;
  std::vector<stack::MemoryItem> memory;  ///< of the rank that needs most
  std::vector<forecast::LayerForecast> layers;  ///< empty without a machine

  bool has_times() const { return !layers.empty(); }  ///< not without a machine that knows the links
  std::uint64_t bytes() const { return stack::total_bytes(memory); }
  forecast::StackTotals totals() const { return forecast::totals(layers); }
  /// Of the slowest layer of that kind in both directions; 0 if there is none.
  double layer_seconds(stack::LayerKind kind) const;
  /// Time that all ranks compute evenly, of the time it takes.
  double efficiency() const { return totals().mean_compute_seconds / totals().seconds; }
};

/// `machine` null: sizes alone. Throws UsageError for what cannot be run.
PlanPoint plan_point(const PointRequest& request, const forecast::Machine* machine);

/// Bytes of the rank that needs most; nothing if they do not fit 63 bits.
std::optional<std::uint64_t> bytes_of(const PointRequest& request);

/// The most tokens up to most_context, in steps of `step`, whose rank that needs most stays within `budget`; 0 if not even
/// one step does.
std::int64_t longest_context(PointRequest request, std::uint64_t budget, std::int64_t step = 1024);

/// The fewest ranks, up to `most`, on which the request fits `budget` bytes per rank; 0 if not even those do. Nodes are
/// filled with `placement.ranks_per_node`.
int fewest_ranks(PointRequest request, std::uint64_t budget, int most);

/// All schemes that the model and the placement allow, the quickest first; needs a machine.
std::vector<PlanPoint> schemes_by_time(const PointRequest& request, const forecast::Machine& machine);

}  // namespace annulus::launch
