/// `annulus calibrate`: measures this machine or cluster and writes its description.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <annulus/version.hpp>

#include <array>
#include <chrono>
#include <fstream>
#include <optional>

#include "kernels/base/checked.hpp"
#include "launch/bench_io.hpp"
#include "launch/calibrate_kernels.hpp"
#include "launch/calibrate_links.hpp"
#include "launch/command.hpp"
#include "launch/machine_file.hpp"
#include "launch/memory.hpp"
#include "launch/options.hpp"
#include "launch/progress.hpp"
#include "launch/table.hpp"
#include "runtime/checkpoint/replaced_file.hpp"
#include "runtime/comm/agreement.hpp"
#include "runtime/comm/placement.hpp"
#include "runtime/comm/vigil.hpp"

namespace annulus::launch {
namespace {

using kernels::Direction;

constexpr std::int64_t block_bytes = std::int64_t{4} << 20;   ///< of a hop
constexpr std::int64_t file_bytes = std::int64_t{128} << 20;  ///< of a rank
constexpr int file_samples = 3;
constexpr std::int64_t most_samples = 1000;

struct CalibrateOptions {
  std::string output;
  std::string name;
  std::string backend = "auto";
  std::string folder;  ///< empty: no files
  std::int64_t samples = 7;
  double comm_timeout = default_comm_timeout;
};

std::unique_ptr<Options> declare(CalibrateOptions& target) {
  auto options = std::make_unique<Options>(
      "calibrate FILE.toml [options]",
      "Measures what `annulus plan` and `annulus study` forecast from, and writes it to FILE.toml: kernels, row-wise work,\n"
      "messages within and between nodes, with --folder the file system. Start it as the runs will be: under mpirun, a rank on\n"
      "every core that is to compute (rates of a busy node are lower than those of one core alone). Takes about ten seconds.");
  options->positional("FILE.toml", target.output);
  options->text("name", "WORDS", target.name, "what to call the machine (default: the host's name)");
  options->text("backend", "NAME", target.backend, "as in run (default auto)");
  options->text("folder", "DIR", target.folder, "measure checkpoints there, too");
  options->size("samples", "K", target.samples, 1, "measurements behind each figure (default 7)");
  add_comm_timeout(*options, target.comm_timeout);
  return options;
}

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
  Calibration(const Communicator& world, const CalibrateOptions& options)
      : world_(world), options_(options), node_(world.node()), progress_(world) {}

  forecast::Machine run() {
    describe();
    measure_kernels();
    measure_row_work();
    measure_links();
    measure_files();
    return machine_;
  }

 private:
  void describe();
  void measure_kernels();
  void measure_row_work();
  void measure_links();
  void measure_files();
  int samples() const { return static_cast<int>(options_.samples); }

  const Communicator& world_;
  const CalibrateOptions& options_;
  Communicator node_;
  ProgressLine progress_;
  forecast::Machine machine_;
};

std::string today() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::array<char, 32> text{};
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::strftime(text.data(), text.size(), "%Y-%m-%d", &utc);
  return text.data();
}

void Calibration::describe() {
  const auto share = static_cast<std::uint64_t>(fair_threads(node_));
  std::array<std::uint64_t, 1> shares{share};  // bound ranks see their own cores alone
  node_.sum(shares);
  std::array<std::uint64_t, 2> least{std::max(shares[0], static_cast<std::uint64_t>(usable_cores())), available_memory()};
  world_.min(least);
  machine_.name = options_.name.empty() ? host_name() : options_.name;
  machine_.source = fmt::format("annulus {} calibrate, {} ranks, {} on a node, {}", ANNULUS_VERSION, world_.size(), node_.size(), today());
  machine_.backend = options_.backend;
  machine_.cores_per_node = static_cast<int>(least[0]);
  machine_.memory_per_node = least[1];
}

void Calibration::measure_kernels() {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    const kernels::KernelTable& table = kernels::kernel_table(options_.backend, dtype);
    for (const std::int64_t head_dim : {64, 128}) {
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

/// Within nodes all nodes at once; between them first one rank of each, then all ranks with their counterparts.
void Calibration::measure_links() {
  progress_.show("links");
  std::array<std::uint64_t, 1> fewest{static_cast<std::uint64_t>(node_.size())};
  world_.min(fewest);
  const forecast::LinkSpeed unknown{.latency_seconds = 1e-6, .bytes_per_second = 1e10, .busy_share = 1};  // one rank alone: never used
  machine_.node = node_.size() > 1 ? measure_ring_link(node_, block_bytes, samples()) : unknown;
  std::array<double, 3> slowest{machine_.node.latency_seconds, 1 / machine_.node.bytes_per_second, machine_.node.busy_share};
  world_.max(slowest);
  machine_.node = {slowest[0], 1 / slowest[1], slowest[2]};
  machine_.network = machine_.node;
  if (world_.size() == node_.size()) return;
  const Communicator counterparts = world_.split(node_.rank());
  if (node_.rank() == 0) machine_.network = measure_ring_link(counterparts, block_bytes, samples());
  world_.barrier();
  const bool all = counterparts.size() > 1;
  const double together_rate = all ? measure_ring_link(counterparts, block_bytes, samples()).bytes_per_second : 0;
  std::array<double, 4> worst{0, 0, 0, together_rate > 0 ? 1 / together_rate : 0};
  if (node_.rank() == 0) {
    worst = {machine_.network.latency_seconds, 1 / machine_.network.bytes_per_second, machine_.network.busy_share, worst[3]};
  }
  world_.max(worst);
  machine_.network = {worst[0], 1 / worst[1], worst[2]};
  machine_.node_ports_bytes_per_second = static_cast<double>(fewest[0]) / worst[3];
}

void Calibration::measure_files() {
  if (options_.folder.empty()) return;
  progress_.show("files");
  const IoRates rates = measure_io(world_, {options_.folder, file_bytes, LayoutKind::contiguous}, file_samples);
  for (const IoRate& rate : rates.directions) {
    if (rate.direction == "write") machine_.file_write_bytes_per_second = rate.rate.median();
    if (rate.direction == "read") machine_.file_read_bytes_per_second = rate.rate.median();
  }
}

std::string rates_table(const forecast::Machine& machine) {
  Table table({"kernel", "head_dim", "direction", "GFLOP/s", "keys lost at an edge", "ns per row", "ns per row and block"});
  for (const forecast::KernelSpeed& speed : machine.kernels) {
    table.add({std::string(name(speed.dtype)), std::to_string(speed.head_dim), std::string(word(speed.direction)),
               fmt::format("{:.1f}", speed.flops_per_second * 1e-9), fmt::format("{:.1f}", speed.edge_keys),
               fmt::format("{:.0f}", speed.row_seconds * 1e9), fmt::format("{:.0f}", speed.step_row_seconds * 1e9)});
  }
  return table.text();
}

std::string link_text(const forecast::LinkSpeed& link) {
  return fmt::format("{:.1f} us, {}/s, {:.0f} % of it by the computing core", link.latency_seconds * 1e6,
                     bytes_text(link.bytes_per_second), 100 * link.busy_share);
}

void print(const Communicator& world, const forecast::Machine& machine, const std::string& path) {
  const bool several = world.size() > world.node().size();
  std::vector<std::pair<std::string, std::string>> facts{
      {"machine", machine.name},
      {"backend", machine.backend},
      {"node", fmt::format("{} cores, {} available", machine.cores_per_node, bytes_text(static_cast<double>(machine.memory_per_node)))},
      {"projections", fmt::format("{:.1f} GFLOP/s of a core", machine.projection_flops_per_second * 1e-9)},
      {"within a node", world.node().size() > 1 ? link_text(machine.node) : "not measured (one rank on it)"},
      {"between nodes", several ? link_text(machine.network) : "not measured (one node): as within"}};
  if (machine.file_write_bytes_per_second > 0) {
    facts.emplace_back("files", fmt::format("written at {}/s, read at {}/s", bytes_text(machine.file_write_bytes_per_second),
                                            bytes_text(machine.file_read_bytes_per_second)));
  }
  facts.emplace_back("written", path);
  if (world.rank() == 0) fmt::print("{}\n{}", rates_table(machine), facts_text(facts));
}

ExitCode calibrate(const Communicator& world, const CalibrateOptions& options) {
  set_comm_timeout(options.comm_timeout);
  together(world, [&] {
    if (world.rank() == 0) const ReplacedFile probe(options.output);
  });
  const forecast::Machine machine = Calibration(world, options).run();
  together(world, [&] {
    if (world.rank() != 0) return;
    ReplacedFile file(options.output);
    file.append(machine_text(machine));
    file.commit();
  });
  print(world, machine, options.output);
  return ExitCode::done;
}

std::string help() {
  CalibrateOptions unread;
  return declare(unread)->help();
}

Job parse(std::span<const std::string> arguments) {
  CalibrateOptions options;
  declare(options)->parse(arguments);
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) (void)kernels::kernel_table(options.backend, dtype);
  if (options.samples > most_samples) throw UsageError("--samples (it would never end); try 7");
  return [options](const Communicator& world) { return calibrate(world, options); };
}

}  // namespace

Command calibrate_command() {
  return {"calibrate", "measures this machine or cluster for plan and study", help, parse};
}

}  // namespace annulus::launch
