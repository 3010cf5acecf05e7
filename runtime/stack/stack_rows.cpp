/// Runs of local layers, and whether their halo stays or travels.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/stack_rows.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/base/error.hpp"

namespace annulus::stack {
namespace {

constexpr std::array<std::pair<LocalHalo, std::string_view>, 3> names{{{LocalHalo::automatic, "auto"},
                                                                      {LocalHalo::resident, "resident"},
                                                                      {LocalHalo::exchange, "exchange"}}};

/// The run of local layers that begins at `layer`.
std::int64_t run_length(const ModelSpec& model, std::int64_t layer) {
  std::int64_t end = layer;
  while (end < model.layers && model.kind(end) == LayerKind::local) ++end;
  return end - layer;
}

std::int64_t longest_run(const ModelSpec& model) {
  std::int64_t longest = 0;
  for (std::int64_t layer = 0; layer < model.layers; ++layer) longest = std::max(longest, run_length(model, layer));
  return longest;
}

ResidentRun rows_of_run(const ModelSpec& model, std::int64_t length, const RowSet& own) {
  const Mask mask(model.local_mask, model.attention.seq_q, model.attention.seq_k);
  return resident_run(std::vector<Mask>(static_cast<std::size_t>(length), mask), own);
}

/// Why local layers of this model cannot do without communication, or empty.
std::string obstacle(const ModelSpec& model, LayoutSpec layout) {
  if (layout.kind == LayoutKind::striped) return "the striped layout (every row's neighbours belong to other ranks)";
  if (model.local_mask.global_tokens > 0) return "global tokens (they see every rank's rows)";
  if (model.local_mask.stride > 0) return "a stride (it reaches every rank's rows)";
  return "";
}

/// Seconds that one run costs beside its own rows, by assumed figures: they only have to rank the two ways.
constexpr double assumed_flops_per_second = 50e9;
constexpr double assumed_bytes_per_second = 5e9;
constexpr double assumed_message_seconds = 20e-6;

bool resident_is_cheaper(const ModelSpec& model, const Layout& layout) {
  const std::int64_t length = longest_run(model);
  double resident = 0;
  double exchange = 0;
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    const RowSet own = layout.row_set(rank);
    const ResidentRun run = rows_of_run(model, length, own);
    const auto width = static_cast<double>(model.width());
    const double row_flops = 2 * width * static_cast<double>(model.qkv_width() + model.width());
    const double held = static_cast<double>(run.held.rows() - own.rows());
    resident = std::max(resident, held * static_cast<double>(length) * row_flops / assumed_flops_per_second);
    const double halo = static_cast<double>(rows_of_run(model, 1, own).held.rows() - own.rows());
    const double bytes = 2 * halo * static_cast<double>(model.kv_width()) * static_cast<double>(size_of(model.attention.dtype));
    exchange = std::max(exchange, static_cast<double>(length) * (bytes / assumed_bytes_per_second + assumed_message_seconds));
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
  if (wanted == LocalHalo::exchange || longest_run(model) == 0) return LocalHalo::exchange;
  const std::string why_not = obstacle(model, layout);
  if (wanted == LocalHalo::resident) {
    if (why_not.empty()) return wanted;
    throw UsageError("local layers with a resident halo do not go with " + why_not + "; try --local-halo exchange");
  }
  const Layout shards(layout.kind, model.attention.seq_q, ranks, layout.stripe);
  return why_not.empty() && resident_is_cheaper(model, shards) ? LocalHalo::resident : LocalHalo::exchange;
}

StackRows::StackRows(const ModelSpec& model, LayoutSpec spec, int rank, int ranks, LocalHalo halo)
    : places_(static_cast<std::size_t>(model.layers + 1)) {
  const Layout layout(spec.kind, model.attention.seq_q, ranks, spec.stripe);
  own_ = layout.row_set(rank);
  if (halo != LocalHalo::resident) return;
  for (std::int64_t layer = 0; layer < model.layers;) {
    const std::int64_t length = run_length(model, layer);
    if (length == 0) {
      ++layer;
      continue;
    }
    std::unique_ptr<Run>& run = runs_[length];
    if (!run) {
      const auto needed = [&](int r) { return rows_of_run(model, length, layout.row_set(r)).held; };
      run = std::make_unique<Run>(Run{rows_of_run(model, length, own_), halo_plan(layout, rank, needed)});
    }
    for (std::int64_t i = 0; i < length; ++i) places_[static_cast<std::size_t>(layer + i)] = {run.get(), static_cast<std::size_t>(i)};
    layer += length;
  }
}

const StackRows::Run* StackRows::run(std::int64_t layer) const { return place(layer).run; }

const RowSet& StackRows::computed(std::int64_t layer) const {
  const Place& at = place(layer);
  return at.run == nullptr ? own_ : at.run->rows.computed[at.index];
}

std::int64_t StackRows::most_rows() const {
  std::int64_t most = own_.rows();
  for (const auto& [length, run] : runs_) most = std::max(most, run->rows.held.rows());
  return most;
}

std::int64_t most_held_rows(const ModelSpec& model, LayoutSpec spec, int ranks, LocalHalo resolved) {
  const Layout layout(spec.kind, model.attention.seq_q, ranks, spec.stripe);
  const std::int64_t length = resolved == LocalHalo::resident ? longest_run(model) : 0;
  std::int64_t most = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    most = std::max(most, rows_of_run(model, length, layout.row_set(rank)).held.rows());
  }
  return most;
}

}  // namespace annulus::stack
