/// Runs of local layers, and whether their halo stays or travels.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/stack_rows.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "kernels/base/error.hpp"

namespace annulus::stack {
namespace {

constexpr std::array<std::pair<LocalHalo, std::string_view>, 3> names{{{LocalHalo::automatic, "auto"},
                                                                      {LocalHalo::resident, "resident"},
                                                                      {LocalHalo::exchange, "exchange"}}};

/// Variants of the local layers that follow each other, first to last.
using RunOfLayers = std::vector<std::size_t>;

/// The runs of local layers of a model.
class LocalRuns {
 public:
  explicit LocalRuns(const ModelSpec& model) : model_(model), variants_(model) {
    for (const LayerSpec& layer : variants_.specs()) {
      masks_.emplace_back(layer.attention.mask, layer.attention.seq_q, layer.attention.seq_k);
    }
  }

  const std::vector<Mask>& masks() const { return masks_; }  ///< by variant
  /// The one that begins at `layer`; empty at a global layer.
  RunOfLayers at(std::int64_t layer) const {
    RunOfLayers run;
    for (; layer < model_.layers && model_.kind(layer) == LayerKind::local; ++layer) run.push_back(variants_.of(layer));
    return run;
  }
  /// All that differ.
  std::set<RunOfLayers> all() const {
    std::set<RunOfLayers> runs;
    for (std::int64_t layer = 0; layer < model_.layers; ++layer) {
      RunOfLayers run = at(layer);
      if (run.empty()) continue;
      layer += static_cast<std::int64_t>(run.size());
      runs.insert(std::move(run));
    }
    return runs;
  }
  ResidentRun rows(const RunOfLayers& run, const RowSet& own) const { return resident_run(masks_, run, own); }

 private:
  const ModelSpec& model_;
  LayerVariants variants_;
  std::vector<Mask> masks_;
};

/// Why local layers of this model cannot do without communication, or empty.
std::string obstacle(const ModelSpec& model, LayoutSpec layout) {
  if (layout.kind == LayoutKind::striped) return "the striped layout (every row's neighbours belong to other ranks)";
  for (const MaskSpec& mask : model.local_masks) {
    if (mask.global_tokens > 0) return "global tokens (they see every rank's rows)";
    if (mask.stride > 0) return "a stride (it reaches every rank's rows)";
  }
  return "";
}

/// Seconds that one run costs beside its own rows, by assumed figures: they only have to rank the two ways.
constexpr double assumed_flops_per_second = 50e9;
constexpr double assumed_bytes_per_second = 5e9;
constexpr double assumed_message_seconds = 20e-6;

/// Of some queries, evenly spread: an estimate is all that is wanted.
double keys_per_row(const Mask& mask) {
  constexpr std::int64_t most_samples = 1024;
  const std::int64_t samples = std::min(most_samples, mask.seq_q());
  double keys = 0;
  for (std::int64_t i = 0; i < samples; ++i) {
    keys += static_cast<double>(mask.visible_keys(mask.seq_q() / samples * i).count());
  }
  return keys / static_cast<double>(samples);
}

/// Of one row through a layer: projections and attention.
double row_seconds(const ModelSpec& model, const Mask& mask) {
  const auto width = static_cast<double>(model.width());
  const double projections = 2 * width * static_cast<double>(model.qkv_width() + model.width());
  return static_cast<double>(model.attention.batch) * (projections + 4 * width * keys_per_row(mask)) / assumed_flops_per_second;
}

/// What one rank pays in a run for rows that it does not own, if they stay, ...
double resident_seconds(const std::vector<double>& row_seconds, const RunOfLayers& run, const ResidentRun& rows) {
  double seconds = 0;
  for (std::size_t i = 0; i < run.size(); ++i) {
    const auto extra = static_cast<double>(rows.computed[i].rows() - rows.computed.back().rows());
    seconds += extra * row_seconds[run[i]];
  }
  return seconds;
}

/// ... and if their keys travel in each layer.
double exchange_seconds(const ModelSpec& model, const std::vector<Mask>& masks, const RunOfLayers& run, const RowSet& own) {
  const auto row_bytes = 2 * static_cast<double>(model.attention.batch * model.kv_width()) *
                         static_cast<double>(size_of(model.attention.dtype));
  double seconds = 0;
  for (const std::size_t variant : run) {
    const RowSet halo = without(needed_rows(masks[variant], own), own);
    seconds += assumed_message_seconds + static_cast<double>(halo.rows()) * row_bytes / assumed_bytes_per_second;
  }
  return seconds;
}

bool resident_is_cheaper(const ModelSpec& model, const Layout& layout) {
  const LocalRuns runs(model);
  std::vector<double> rows;
  for (const Mask& mask : runs.masks()) rows.push_back(row_seconds(model, mask));
  double resident = 0;
  double exchange = 0;
  for (const RunOfLayers& run : runs.all()) {
    for (int rank = 0; rank < layout.ranks(); ++rank) {
      const RowSet own = layout.row_set(rank);
      resident = std::max(resident, resident_seconds(rows, run, runs.rows(run, own)));
      exchange = std::max(exchange, exchange_seconds(model, runs.masks(), run, own));
    }
  }
  return resident <= exchange;
}

}  // namespace

std::string_view name(LocalHalo halo) {
  return std::find_if(names.begin(), names.end(), [&](const auto& entry) { return entry.first == halo; })->second;
}

std::optional<LocalHalo> parse_local_halo(std::string_view word) {
  for (const auto& [halo, known] : names) {
    if (known == word) return halo;
  }
  return std::nullopt;
}

LocalHalo resolve(LocalHalo wanted, const ModelSpec& model, LayoutSpec layout, int ranks) {
  if (wanted == LocalHalo::exchange || !model.has(LayerKind::local)) return LocalHalo::exchange;
  const std::string why_not = obstacle(model, layout);
  if (wanted == LocalHalo::resident) {
    if (why_not.empty()) return wanted;
    throw UsageError("local layers with a resident halo do not go with " + why_not + "; try --local-halo exchange");
  }
  const Layout shards(layout.kind, model.attention.seq_q, ranks, layout.stripe);
  const bool resident = why_not.empty() && resident_is_cheaper(model, shards);
  return resident ? LocalHalo::resident : LocalHalo::exchange;
}

StackRows::StackRows(const ModelSpec& model, LayoutSpec spec, int rank, int ranks, LocalHalo halo)
    : places_(static_cast<std::size_t>(model.layers + 1)) {
  const Layout layout(spec.kind, model.attention.seq_q, ranks, spec.stripe);
  own_ = layout.row_set(rank);
  if (halo != LocalHalo::resident) return;
  const LocalRuns runs(model);
  for (std::int64_t layer = 0; layer < model.layers; ++layer) {
    const RunOfLayers layers = runs.at(layer);
    if (layers.empty()) continue;
    std::unique_ptr<Run>& run = runs_[layers];
    if (!run) {
      const auto needed = [&](int r) { return runs.rows(layers, layout.row_set(r)).held; };
      run = std::make_unique<Run>(Run{runs.rows(layers, own_), halo_plan(layout, rank, needed)});
    }
    for (std::size_t i = 0; i < layers.size(); ++i, ++layer) places_[static_cast<std::size_t>(layer)] = {run.get(), i};
  }
}

const StackRows::Run* StackRows::run(std::int64_t layer) const { return place(layer).run; }

const RowSet& StackRows::computed(std::int64_t layer) const {
  const Place& at = place(layer);
  return at.run == nullptr ? own_ : at.run->rows.computed[at.index];
}

std::int64_t StackRows::most_rows() const {
  std::int64_t most = own_.rows();
  for (const auto& [masks, run] : runs_) most = std::max(most, run->rows.held.rows());
  return most;
}

std::vector<std::int64_t> held_rows_by_layer(const ModelSpec& model, LayoutSpec spec, int ranks, LocalHalo resolved) {
  const Layout layout(spec.kind, model.attention.seq_q, ranks, spec.stripe);
  std::vector<std::int64_t> held(static_cast<std::size_t>(model.layers + 1), layout.max_rows());
  if (resolved != LocalHalo::resident) return held;
  const LocalRuns runs(model);
  std::map<RunOfLayers, std::int64_t> most;
  for (const RunOfLayers& run : runs.all()) {
    for (int rank = 0; rank < ranks; ++rank) most[run] = std::max(most[run], runs.rows(run, layout.row_set(rank)).held.rows());
  }
  for (std::int64_t layer = 0; layer < model.layers; ++layer) {
    const RunOfLayers run = runs.at(layer);
    if (run.empty()) continue;
    std::fill_n(held.begin() + layer, run.size(), most[run]);
    layer += static_cast<std::int64_t>(run.size());
  }
  return held;
}

}  // namespace annulus::stack
