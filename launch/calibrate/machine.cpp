/// Part by part, all ranks together; the slowest counts.
// SPDX-License-Identifier: Apache-2.0
#include "launch/calibrate/machine.hpp"

#include <fmt/format.h>
#include <annulus/version.hpp>

#include <algorithm>
#include <array>
#include <ctime>
#include <optional>

#include "launch/bench/io.hpp"
#include "launch/calibrate/kernels.hpp"
#include "launch/calibrate/links.hpp"
#include "launch/machine_name.hpp"
#include "launch/memory.hpp"
#include "launch/progress.hpp"
#include "launch/report.hpp"
#include "runtime/comm/agreement.hpp"
#include "runtime/comm/placement.hpp"

namespace annulus::launch {
namespace {

using kernels::Direction;

constexpr std::int64_t block_bytes = std::int64_t{4} << 20;   ///< of a hop
constexpr std::int64_t file_bytes = std::int64_t{128} << 20;  ///< of a rank
constexpr int file_samples = 3;

/// Collective. Medians of ranks would hide a slow one: the slowest counts, as in a ring.
void take_slowest(const Communicator& world, forecast::KernelSpeed& speed) {
  std::array<double, 4> slowest{1 / speed.flops_per_second, speed.edge_keys, speed.row_seconds, speed.step_row_seconds};
  world.max(slowest);
  speed.flops_per_second = 1 / slowest[0];
  speed.edge_keys = slowest[1];
  speed.row_seconds = slowest[2];
  speed.step_row_seconds = slowest[3];
}

class Calibration {
 public:
  Calibration(const Communicator& world, const CalibrateRequest& request)
      : world_(world), request_(request), node_(world.node()), progress_(world) {}

  forecast::Machine run() {
    describe();
    measure_files();  // first: a folder that is not there costs nobody ten seconds
    measure_kernels();
    measure_row_work();
    measure_links();
    return machine_;
  }

 private:
  void describe();
  void measure_kernels();
  void measure_row_work();
  void measure_links();
  void measure_files();
  std::optional<forecast::LinkSpeed> ring_link(const Communicator& ring) const {
    if (ring.size() == 1) return std::nullopt;
    return measure_ring_link(ring, block_bytes, samples());
  }
  int samples() const { return request_.samples; }

  const Communicator& world_;
  const CalibrateRequest& request_;
  Communicator node_;
  ProgressLine progress_;
  forecast::Machine machine_;
};

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::array<char, 32> text{};
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::strftime(text.data(), text.size(), "%Y-%m-%d", &utc);
  return text.data();
}

void Calibration::describe() {
  std::array<std::uint64_t, 1> memory{available_memory()};
  world_.min(memory);
  machine_.name = request_.name.empty() ? host_name() : request_.name;
  machine_.source = fmt::format("annulus {} calibrate, {} ranks, {} on a node, {}", ANNULUS_VERSION, world_.size(), node_.size(), today());
  machine_.backend = request_.backend;
  machine_.cores_per_node = node_cores();
  machine_.memory_per_node = memory[0];
}

void Calibration::measure_kernels() {
  for (const DType dtype : request_.dtypes) {
    const kernels::KernelTable& table = kernels::kernel_table(request_.backend, dtype);
    for (const std::int64_t head_dim : request_.head_dims) {
      for (const Direction direction : {Direction::forward, Direction::backward}) {
        progress_.show(fmt::format("kernels: {}, head_dim {}", name(dtype), head_dim));
        forecast::KernelSpeed speed;
        together(world_, [&] { speed = measure_speed(table, dtype, head_dim, direction, samples()); });
        take_slowest(world_, speed);
        machine_.kernels.push_back(speed);
      }
    }
  }
}

void Calibration::measure_row_work() {
  progress_.show("projections");
  RowSpeed rows;
  together(world_, [&] { rows = measure_rows(samples()); });
  std::array<double, 2> slowest{1 / rows.projection_flops_per_second, 1 / rows.weights_per_second};
  world_.max(slowest);
  machine_.projection_flops_per_second = 1 / slowest[0];
  machine_.weights_per_second = 1 / slowest[1];
}

/// Collective. Of every rank that measured it; none where nobody did.
std::optional<forecast::LinkSpeed> slowest(const Communicator& world, const std::optional<forecast::LinkSpeed>& link) {
  std::array<double, 4> worst{0, 0, 0, 0};
  if (link) worst = {1, link->latency_seconds, 1 / link->bytes_per_second, link->busy_share};
  world.max(worst);
  if (worst[0] == 0) return std::nullopt;
  return forecast::LinkSpeed{.latency_seconds = worst[1], .bytes_per_second = 1 / worst[2], .busy_share = worst[3]};
}

/// Within nodes all nodes at once; between them first one rank of each, then all ranks with their counterparts.
void Calibration::measure_links() {
  progress_.show("links");
  machine_.node = slowest(world_, ring_link(node_));
  const Communicator counterparts = world_.split(node_.rank());
  machine_.network = slowest(world_, node_.rank() == 0 ? ring_link(counterparts) : std::nullopt);
  const std::optional<forecast::LinkSpeed> of_all = slowest(world_, ring_link(counterparts));
  if (!of_all) return;
  std::array<std::uint64_t, 1> fewest{static_cast<std::uint64_t>(node_.size())};
  world_.min(fewest);
  machine_.node_ports_bytes_per_second = static_cast<double>(fewest[0]) * of_all->bytes_per_second;
}

void Calibration::measure_files() {
  if (request_.folder.empty()) return;
  progress_.show("files");
  const IoRates rates = measure_io(world_, {request_.folder, file_bytes, LayoutKind::contiguous}, file_samples);
  for (const IoRate& rate : rates.directions) {
    if (rate.direction == "write") machine_.file_write_bytes_per_second = rate.rate.median();
    if (rate.direction == "read") machine_.file_read_bytes_per_second = rate.rate.median();
  }
}

}  // namespace

forecast::Machine calibrate_machine(const Communicator& world, const CalibrateRequest& request) {
  return Calibration(world, request).run();
}

}  // namespace annulus::launch
