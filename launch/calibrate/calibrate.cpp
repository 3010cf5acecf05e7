/// `annulus calibrate`: measures this machine or cluster and writes its description.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <optional>

#include "kernels/kernel_table.hpp"
#include "launch/blas_report.hpp"
#include "launch/calibrate/machine.hpp"
#include "launch/command.hpp"
#include "launch/machine_file.hpp"
#include "launch/machine_name.hpp"
#include "launch/memory.hpp"
#include "launch/options.hpp"
#include "launch/report.hpp"
#include "launch/table.hpp"
#include "runtime/checkpoint/replaced_file.hpp"
#include "runtime/comm/agreement.hpp"
#include "runtime/comm/vigil.hpp"

namespace annulus::launch {
namespace {

constexpr std::int64_t most_samples = 1000;

struct CalibrateOptions {
  std::string output;
  CalibrateRequest request;
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
  options->text("name", "WORDS", target.request.name, "what to call the machine (default: the host's name)");
  options->text("backend", "NAME", target.request.backend, "as in run (default auto)");
  options->text("folder", "DIR", target.request.folder, "measure checkpoints there, too");
  options->size("samples", "K", target.samples, 1, "measurements behind each figure (default 7)");
  add_comm_timeout(*options, target.comm_timeout);
  return options;
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

std::string link_text(const std::optional<forecast::LinkSpeed>& link, std::string_view why_not) {
  if (!link) return fmt::format("not measured ({})", why_not);
  return fmt::format("{:.1f} us, {}/s, {:.0f} % of it by the computing core", link->latency_seconds * 1e6,
                     bytes_text(link->bytes_per_second), 100 * link->busy_share);
}

void print(const Communicator& world, const forecast::Machine& machine, const std::string& path) {
  std::vector<std::pair<std::string, std::string>> facts{
      {"machine", machine.name},
      {"backend", machine.backend},
      {"node", fmt::format("{} cores, {} available", machine.cores_per_node, bytes_text(static_cast<double>(machine.memory_per_node)))},
      {"projections", fmt::format("{:.1f} GFLOP/s of a core ({})", machine.projection_flops_per_second * 1e-9, blas_text())},
      {"within a node", link_text(machine.node, "one rank on it")},
      {"between nodes", link_text(machine.network, "one node")}};
  if (machine.file_write_bytes_per_second > 0) {
    facts.emplace_back("files", fmt::format("written at {}/s, read at {}/s", bytes_text(machine.file_write_bytes_per_second),
                                            bytes_text(machine.file_read_bytes_per_second)));
  }
  facts.emplace_back("written", path);
  if (world.rank() == 0) fmt::print("{}\n{}", rates_table(machine), facts_text(facts));
}

/// A mistyped name must not cost anyone a file.
void keep_what_is_no_machine(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_regular_file(path, ignored) && std::filesystem::file_size(path, ignored) > 0 && !is_machine_file(path)) {
    throw UsageError(fmt::format("{} (is there and describes no machine: it would be lost); try another name", path));
  }
}

/// Collective. Rates by CPU time hardly notice it, hops do.
void warn_of_shared_cores(const Communicator& world) {
  const int ranks = world.node().size();
  std::array<std::uint64_t, 1> shared{ranks > node_cores() ? 1U : 0U};
  world.max(shared);
  if (shared[0] == 0 || world.rank() != 0) return;
  fmt::print(stderr, "annulus: {} ranks share {} cores (links come out slower than they are); start one rank for every core\n", ranks,
             node_cores());
}

ExitCode calibrate(const Communicator& world, const CalibrateOptions& options) {
  set_comm_timeout(options.comm_timeout);
  together(world, [&] {
    if (world.rank() != 0) return;
    keep_what_is_no_machine(options.output);
    const ReplacedFile probe(options.output);
  });
  warn_of_shared_cores(world);
  const forecast::Machine machine = calibrate_machine(world, options.request);
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
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) (void)kernels::kernel_table(options.request.backend, dtype);
  options.request.samples = static_cast<int>(std::min(options.samples, most_samples + 1));
  if (options.samples > most_samples) throw UsageError("--samples (it would never end); try 7");
  return [options](const Communicator& world) { return calibrate(world, options); };
}

}  // namespace

Command calibrate_command() {
  return {"calibrate", "measures this machine or cluster for plan and study", help, parse};
}

}  // namespace annulus::launch
