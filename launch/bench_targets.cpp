/// The targets as a list, and the measurement that answers each.
// SPDX-License-Identifier: Apache-2.0
#include "launch/bench_targets.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/kernel_table.hpp"
#include "launch/table.hpp"

namespace annulus::launch {
namespace {

using kernels::Direction;

struct CoreTarget {
  Direction direction;
  DType dtype;
  std::int64_t head_dim;
  double floor;
  double target;
};
constexpr CoreTarget core_targets[] = {
    {Direction::forward, DType::f32, 64, 0.80, 0.90},  {Direction::forward, DType::f32, 128, 0.82, 0.93},
    {Direction::forward, DType::bf16, 64, 0.70, 0.84}, {Direction::forward, DType::bf16, 128, 0.75, 0.90},
    {Direction::backward, DType::f32, 64, 0.82, 0.92}, {Direction::backward, DType::f32, 128, 0.82, 0.92},
    {Direction::backward, DType::bf16, 64, 0.78, 0.88}, {Direction::backward, DType::bf16, 128, 0.80, 0.91},
};
constexpr int ring_ranks = 2;  ///< what the targets of the ring speak of
constexpr double ring_floor = 0.92;
constexpr double ring_target = 0.97;
constexpr std::int64_t fewest_rows = 1024;  ///< per rank: small shapes are mostly packing

struct WindowTarget {
  std::int64_t window;
  double floor;
  double target;
};
constexpr WindowTarget window_targets[] = {{1024, 0.85, 0.93}, {256, 0.70, 0.82}};

constexpr double io_floor = 0.80;
constexpr double io_target = 0.95;
constexpr std::int64_t fewest_io_bytes = std::int64_t{64} << 20;  ///< per rank: small files are mostly fsync

bool is_best_row(const kernels::KernelTable* table, DType dtype) {
  return table->name == kernels::kernel_table("auto", dtype).name;
}

void lower(std::optional<double>& lowest, double value) { lowest = std::min(lowest.value_or(value), value); }

Target measured(const CoreTarget& wanted, const std::vector<KernelRate>& rates) {
  Target target{fmt::format("one core, {} {} d{}", word(wanted.direction), name(wanted.dtype), wanted.head_dim),
                wanted.floor, wanted.target};
  for (const KernelRate& rate : rates) {
    const KernelShape& shape = rate.shape;
    const bool same = shape.direction == wanted.direction && shape.dtype == wanted.dtype &&
                      shape.head_dim == wanted.head_dim && !shape.mask.causal && shape.rows >= fewest_rows &&
                      is_best_row(shape.table, shape.dtype);
    if (same) lower(target.measured, rate.whole_fraction());
  }
  return target;
}

Target measured(const WindowTarget& wanted, const std::vector<WindowRate>& rates) {
  Target target{fmt::format("window of {} against dense", wanted.window), wanted.floor, wanted.target};
  for (const WindowRate& rate : rates) {
    const bool same = rate.shape.window == wanted.window && is_best_row(rate.shape.table, rate.shape.dtype);
    if (same) lower(target.measured, rate.rate_vs_dense.median());
  }
  return target;
}

Target measured(Direction direction, DType dtype, std::int64_t head_dim, const std::vector<RingRate>& rates) {
  Target target{fmt::format("{} ranks, {} {} d{}", ring_ranks, word(direction), name(dtype), head_dim), ring_floor,
                ring_target};
  for (const RingRate& rate : rates) {
    const RingShape& shape = rate.shape;
    const bool same = shape.direction == direction && shape.dtype == dtype && shape.head_dim == head_dim &&
                      rate.ranks == ring_ranks && shape.rows_per_rank >= fewest_rows && rate.own_cores;
    if (same) lower(target.measured, rate.efficiency.median());
  }
  return target;
}

Target measured(std::string_view direction, const std::vector<IoRates>& rates) {
  Target target{fmt::format("checkpoint {} against plain calls", direction), io_floor, io_target};
  for (const IoRates& rate : rates) {
    for (const IoRate& way : rate.directions) {
      const bool counts = way.direction == direction && rate.shape.bytes_per_rank >= fewest_io_bytes;
      if (counts) lower(target.measured, way.fraction.median());
    }
  }
  return target;
}

}  // namespace

const char* Target::reached() const {
  if (!measured) return "not measured";
  if (*measured < floor) return "below the floor";
  return *measured < target ? "floor" : "target";
}

std::vector<Target> compare(const std::vector<KernelRate>& kernels, const std::vector<WindowRate>& windows,
                            const std::vector<RingRate>& rings, const std::vector<IoRates>& io) {
  std::vector<Target> targets;
  for (const CoreTarget& core : core_targets) targets.push_back(measured(core, kernels));
  for (const WindowTarget& window : window_targets) targets.push_back(measured(window, windows));
  for (const CoreTarget& core : core_targets) {
    targets.push_back(measured(core.direction, core.dtype, core.head_dim, rings));
  }
  for (const std::string_view direction : {"write", "read"}) targets.push_back(measured(direction, io));
  return targets;
}

std::string target_table(const std::vector<Target>& targets) {
  const auto percent = [](double fraction) { return fmt::format("{:.1f} %", 100 * fraction); };
  Table table({"fraction of the peak, of dense, of P times one rank, of the disk", "floor", "target", "measured", "reached"});
  for (const Target& target : targets) {
    table.add({target.metric, percent(target.floor), percent(target.target),
               target.measured ? percent(*target.measured) : "-", target.reached()});
  }
  return table.text();
}

Json targets_to_json(const std::vector<Target>& targets) {
  Json entries = Json::array();
  for (const Target& target : targets) {
    entries.push_back({{"metric", target.metric},
                       {"floor", target.floor},
                       {"target", target.target},
                       {"measured", target.measured ? Json(*target.measured) : Json(nullptr)},
                       {"reached", target.reached()}});
  }
  return entries;
}

}  // namespace annulus::launch
