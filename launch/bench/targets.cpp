/// The targets as a list, and the measurement that answers each.
// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/targets.hpp"

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

struct GpuTarget {
  Direction direction;
  bool causal;
  double floor;  ///< TFLOP/s
  double target;
};
constexpr GpuTarget gpu_targets[] = {{Direction::forward, false, 520, 640},
                                     {Direction::forward, true, 470, 580},
                                     {Direction::backward, false, 420, 520},
                                     {Direction::backward, true, 370, 470}};
constexpr std::int64_t gpu_rows = 16384;
constexpr std::int64_t gpu_steps_rows = 8192;
constexpr double gpu_steps_floor = 0.92;
constexpr double gpu_steps_target = 0.96;
constexpr std::int64_t gpu_head_dim = 128;  ///< what these speak of, in bf16

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
    const bool on_gpu = rate.shape.table->take_device_seconds != nullptr;
    const bool counts = on_gpu ? rate.shape.dtype == DType::bf16 && rate.shape.head_dim == gpu_head_dim
                               : is_best_row(rate.shape.table, rate.shape.dtype);
    const bool same = rate.shape.window == wanted.window && counts;
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

bool is_gpu_target(const KernelShape& shape, std::int64_t rows) {
  return shape.dtype == DType::bf16 && shape.head_dim == gpu_head_dim && shape.rows == rows;
}

Target measured(const GpuTarget& wanted, const std::vector<KernelRate>& rates) {
  Target target{fmt::format("H100, {} bf16 d{} {} at 16k", word(wanted.direction), gpu_head_dim,
                            wanted.causal ? "causal" : "full"),
                wanted.floor, wanted.target, {}, Target::Unit::tflops};
  for (const KernelRate& rate : rates) {
    const bool same = rate.shape.direction == wanted.direction && rate.shape.mask.causal == wanted.causal;
    if (same && is_gpu_target(rate.shape, gpu_rows)) lower(target.measured, rate.attend.median() / 1000);
  }
  return target;
}

Target measured(Direction direction, const std::vector<StepsRate>& rates) {
  Target target{fmt::format("H100, chained steps {} at 8k against one call", word(direction)), gpu_steps_floor, gpu_steps_target};
  for (const StepsRate& rate : rates) {
    const bool same = rate.shape.direction == direction && is_gpu_target(rate.shape, gpu_steps_rows);
    if (same) lower(target.measured, rate.of_one_call.median());
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

std::vector<Target> compare_gpu(const std::vector<KernelRate>& kernels, const std::vector<StepsRate>& steps,
                                const std::vector<WindowRate>& windows) {
  std::vector<Target> targets;
  for (const GpuTarget& gpu : gpu_targets) targets.push_back(measured(gpu, kernels));
  for (const Direction direction : {Direction::forward, Direction::backward}) targets.push_back(measured(direction, steps));
  for (const WindowTarget& window : window_targets) targets.push_back(measured(window, windows));
  return targets;
}

std::string target_table(const std::vector<Target>& targets) {
  Table table({"fraction of the peak, of dense, of P times one rank, of the disk, of one call", "floor", "target", "measured",
               "reached"});
  for (const Target& target : targets) {
    const auto text = [&](double value) {
      return target.unit == Target::Unit::fraction ? fmt::format("{:.1f} %", 100 * value) : fmt::format("{:.0f} TFLOP/s", value);
    };
    table.add({target.metric, text(target.floor), text(target.target), target.measured ? text(*target.measured) : "-",
               target.reached()});
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
                       {"unit", target.unit == Target::Unit::fraction ? "fraction" : "TFLOP/s"},
                       {"reached", target.reached()}});
  }
  return entries;
}

}  // namespace annulus::launch
