/// `annulus bench`: rates of this machine for a shape, as fractions of the peak measured in the same process.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>

#include "kernels/base/stopwatch.hpp"
#include "kernels/kernel_table.hpp"
#include "launch/bench_io.hpp"
#include "launch/bench_kernel.hpp"
#include "launch/bench_ring.hpp"
#include "launch/bench_steps.hpp"
#include "launch/bench_targets.hpp"
#include "launch/bench_window.hpp"
#include "launch/bench_tensors.hpp"
#include "launch/command.hpp"
#include "launch/memory.hpp"
#include "launch/options.hpp"
#include "launch/progress.hpp"
#include "launch/table.hpp"
#include "runtime/comm/agreement.hpp"
#include "runtime/comm/placement.hpp"
#include "runtime/comm/vigil.hpp"

namespace annulus::launch {
namespace {

using kernels::Direction;

constexpr std::int64_t most_samples = 100'000;
constexpr std::int64_t most_window_samples = 7;  ///< dense calls over 8 windows of rows take their time
constexpr std::int64_t most_steps = 4096;
constexpr std::int64_t most_io_samples = 9;      ///< each writes and reads all bytes twice
constexpr std::int64_t fewest_io_bytes = std::int64_t{1} << 20;
constexpr std::int64_t default_io_bytes = std::int64_t{256} << 20;

struct BenchOptions {
  AttentionOptions attention;
  std::int64_t rows = 1536;
  std::int64_t heads = 2;
  std::int64_t head_dim = 0;  ///< 0: 64 and 128
  std::int64_t samples = 25;
  std::int64_t steps = 0;  ///< 0: no rates of chained steps
  bool compare = false;
  std::int64_t window = 0;  ///< 0: none, or 1024 and 256 with --compare
  std::string io_folder;      ///< empty: no rates of checkpoints
  std::int64_t io_bytes = 0;  ///< of a rank; 0: default_io_bytes

  bool all_backends() const { return attention.backend == "all"; }
  std::vector<DType> dtypes() const {
    if (attention.dtype) return {*attention.dtype};
    return {DType::f32, DType::bf16};
  }
  std::vector<std::int64_t> head_dims() const {
    if (head_dim > 0) return {head_dim};
    return {64, 128};
  }
  std::vector<std::int64_t> windows() const {
    if (window > 0) return {window};
    return compare ? std::vector<std::int64_t>{1024, 256} : std::vector<std::int64_t>{};
  }
  std::vector<Direction> directions() const {
    if (attention.backward || compare) return {Direction::forward, Direction::backward};
    return {Direction::forward};
  }
  Execution execution() const {
    return {all_backends() ? "auto" : attention.backend, attention.exchange, attention.threads, {}};
  }
};

std::unique_ptr<Options> declare(BenchOptions& target) {
  auto options = std::make_unique<Options>("bench [options]",
                                           "Rates of this machine: the kernels on one core of rank 0, by its CPU time, "
                                           "as fractions of the multiply-add peak measured in\n"
                                           "the same moments (medians, and the spread between the 10th and 90th "
                                           "percentile); and with several ranks the ring,\n"
                                           "causal and zigzag, against one rank on the same sequence. --backend all "
                                           "compares all that run here but reference;\n"
                                           "cuda is timed by its GPU and held against no peak.\n"
                                           "With --checkpoint-folder also how near checkpoints come to that disk.");
  options->size("rows", "N", target.rows, 1, "queries and keys of each rank (default 1536)");
  options->size("heads", "H", target.heads, 1, "query, key and value heads (default 2)");
  options->size("head-dim", "D", target.head_dim, 1, "channels of a head, 1 to 256 (default: 64 and 128)");
  options->size("samples", "K", target.samples, 1, "measurements behind each figure (default 25)");
  options->size("steps", "P", target.steps, 2,
                "also the rate of P chained ring steps over the same keys against one call");
  options->size("sliding-window", "W", target.window, 1,
                "also the useful rate of a window of W tokens against the dense mask (with --compare: 1024 and 256)");
  options->text("checkpoint-folder", "DIR", target.io_folder,
                "also what saving and loading a checkpoint there reach of plain pwrite and fsync, and of pread");
  options->size("checkpoint-bytes", "N", target.io_bytes, fewest_io_bytes,
                "bytes of each rank in that checkpoint (default 256M); all ranks' must fit into DIR");
  options->flag("compare", target.compare, "print what should be reached beside what was measured; implies --backward");
  add_execution_options(*options, target.attention);
  return options;
}

std::vector<const kernels::KernelTable*> backends(const BenchOptions& options, DType dtype) {
  if (!options.all_backends()) return {&kernels::kernel_table(options.attention.backend, dtype)};
  std::vector<const kernels::KernelTable*> rows;
  for (const kernels::KernelTable& table : kernels::kernel_tables()) {
    if (table.name != "reference" && table.unavailable.empty()) rows.push_back(&table);
  }
  return rows;
}

std::vector<KernelShape> kernel_shapes(const BenchOptions& options) {
  std::vector<KernelShape> shapes;
  for (const DType dtype : options.dtypes()) {
    for (const kernels::KernelTable* table : backends(options, dtype)) {
      for (const std::int64_t head_dim : options.head_dims()) {
        for (const bool causal : {false, true}) {
          for (const Direction direction : options.directions()) {
            shapes.push_back({table, dtype, options.rows, options.heads, head_dim, {.causal = causal}, direction});
          }
        }
      }
    }
  }
  return shapes;
}

std::vector<WindowShape> window_shapes(const BenchOptions& options) {
  std::vector<WindowShape> shapes;
  for (const std::int64_t window : options.windows()) {
    for (const DType dtype : options.dtypes()) {
      for (const kernels::KernelTable* table : backends(options, dtype)) {
        for (const std::int64_t head_dim : options.head_dims()) {
          for (const Direction direction : options.directions()) {
            shapes.push_back({table, dtype, head_dim, window, direction});
          }
        }
      }
    }
  }
  return shapes;
}

std::vector<KernelShape> steps_shapes(const BenchOptions& options) {
  if (options.steps == 0) return {};
  std::vector<KernelShape> shapes = kernel_shapes(options);
  for (KernelShape& shape : shapes) shape.steps = static_cast<int>(options.steps);
  return shapes;
}

std::vector<IoShape> io_shapes(const BenchOptions& options, int ranks) {
  std::vector<IoShape> shapes;
  if (options.io_folder.empty()) return shapes;
  const std::int64_t bytes = options.io_bytes > 0 ? options.io_bytes : default_io_bytes;
  for (const LayoutKind layout : {LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped}) {
    if (ranks > 1 || shapes.empty()) shapes.push_back({options.io_folder, bytes, layout});  // one rank has all rows
  }
  return shapes;
}

std::vector<RingShape> ring_shapes(const BenchOptions& options, int ranks) {
  std::vector<RingShape> shapes;
  if (ranks == 1) return shapes;
  for (const DType dtype : options.dtypes()) {
    for (const std::int64_t head_dim : options.head_dims()) {
      for (const Direction direction : options.directions()) {
        shapes.push_back({dtype, options.rows, options.heads, head_dim, direction});
      }
    }
  }
  return shapes;
}

/// Memory of the largest shape on the rank that needs most, by the same arithmetic as the ring's.
std::uint64_t needed_bytes(const BenchOptions& options, int ranks) {
  std::uint64_t most = 0;
  for (const IoShape& shape : io_shapes(options, ranks)) most = std::max(most, io_bench_bytes(shape.bytes_per_rank));
  for (const DType dtype : options.dtypes()) {
    for (const Direction direction : options.directions()) {
      const std::int64_t head_dim = options.head_dims().back();
      const RingShape shape{dtype, options.rows, options.heads, head_dim, direction};
      const std::uint64_t of_kernels = ring_bench_bytes(shape, options.execution(), 1);
      most = std::max({most, ring_bench_bytes(shape, options.execution(), ranks), options.steps > 0 ? 2 * of_kernels : 0});
      for (const std::int64_t window : options.windows()) {
        const RingShape dense{dtype, window_rows(window), 1, head_dim, direction};
        most = std::max(most, 2 * ring_bench_bytes(dense, options.execution(), 1));
      }
    }
  }
  return most;
}

/// What all ranks did; peaks and kernel rates on rank 0 only.
struct BenchResults {
  Samples f32_peak;
  Samples bf16_peak;
  std::vector<KernelRate> kernels;
  std::vector<StepsRate> steps;
  std::vector<WindowRate> windows;
  std::vector<RingRate> rings;
  std::vector<IoRates> io;
};

/// Collective.
BenchResults measure(const Communicator& world, const BenchOptions& options) {
  BenchResults results;
  ProgressLine progress(world);
  const std::vector<KernelShape> kernels = kernel_shapes(options);
  const std::vector<KernelShape> steps = steps_shapes(options);
  const std::vector<WindowShape> windows = window_shapes(options);
  together(world, [&] {
    if (world.rank() != 0) return;
    results.f32_peak = measure_peak(Products::f32, options.samples);
    results.bf16_peak = measure_peak(Products::bf16, options.samples);
    for (const KernelShape& shape : kernels) {
      progress.show(fmt::format("kernel {} of {}", results.kernels.size() + 1, kernels.size()));
      results.kernels.push_back(measure_kernel(shape, options.samples));
    }
    for (const KernelShape& shape : steps) {
      progress.show(fmt::format("steps {} of {}", results.steps.size() + 1, steps.size()));
      results.steps.push_back(measure_steps(shape, options.samples));
    }
    for (const WindowShape& shape : windows) {
      progress.show(fmt::format("window {} of {}", results.windows.size() + 1, windows.size()));
      results.windows.push_back(measure_window(shape, std::min(options.samples, most_window_samples)));
    }
  });
  const std::vector<RingShape> rings = ring_shapes(options, world.size());
  for (const RingShape& shape : rings) {
    progress.show(fmt::format("ring {} of {}", results.rings.size() + 1, rings.size()));
    results.rings.push_back(measure_ring(world, shape, options.execution(), options.samples));
  }
  const std::vector<IoShape> io = io_shapes(options, world.size());
  for (const IoShape& shape : io) {
    progress.show(fmt::format("checkpoint {} of {}", results.io.size() + 1, io.size()));
    results.io.push_back(measure_io(world, shape, std::min(options.samples, most_io_samples)));
  }
  return results;
}

std::vector<Target> targets(const BenchResults& results) {
  return compare(results.kernels, results.windows, results.rings, results.io);
}

/// The contract's keys that mean nothing here are null.
Json bench_json(const BenchOptions& options, const Report& report, const BenchResults& results) {
  const double bf16_peak = results.bf16_peak.median();
  Json json = to_json(report);
  json["tflops"] = nullptr;
  if (results.rings.empty()) json["exchange"] = json["layout"] = nullptr;
  json["peak_gflops"] = {{"f32", results.f32_peak.median()}, {"bf16", bf16_peak > 0 ? Json(bf16_peak) : Json(nullptr)}};
  json["kernels"] = kernels_to_json(results.kernels);
  json["steps"] = results.steps.empty() ? Json(nullptr) : steps_to_json(results.steps);
  json["window"] = results.windows.empty() ? Json(nullptr) : windows_to_json(results.windows);
  json["ring"] = results.rings.empty() ? Json(nullptr) : rings_to_json(results.rings);
  json["io"] = results.io.empty() ? Json(nullptr) : io_to_json(results.io);
  json["targets"] = options.compare ? targets_to_json(targets(results)) : Json(nullptr);
  return json;
}

std::string peak_text(const Samples& peak) {
  return peak.median() > 0 ? fmt::format("{:.1f} GFLOP/s, one core", peak.median()) : "- (no such instructions here)";
}

void print(const BenchOptions& options, const Report& report, const BenchResults& results) {
  fmt::print("{}\n{}",
             facts_text({{"host", host_name()},
                         {"ranks", std::to_string(report.ranks)},
                         {"shape", fmt::format("{} rows per rank, {} heads", options.rows, options.heads)},
                         {"f32 peak", peak_text(results.f32_peak)},
                         {"bf16 peak", peak_text(results.bf16_peak)}}),
             kernel_table(results.kernels));
  if (!results.steps.empty()) fmt::print("\n{}", steps_table(results.steps));
  if (!results.windows.empty()) fmt::print("\n{}", window_table(results.windows));
  if (!results.rings.empty()) fmt::print("\n{}", ring_table(results.rings));
  if (!results.io.empty()) fmt::print("\n{}", io_table(results.io));
  if (options.compare) fmt::print("\n{}", target_table(targets(results)));
}

/// The rows that the dtypes resolve to: "avx512", or "avx512, avx512-bf16" where they differ.
std::string backend_names(const BenchOptions& options) {
  if (options.all_backends()) return "all";
  std::string names;
  for (const DType dtype : options.dtypes()) {
    const std::string_view row = kernels::kernel_table(options.attention.backend, dtype).name;
    if (names == row) continue;
    names += (names.empty() ? "" : ", ") + std::string(row);
  }
  return names;
}

/// Collective.
int most_threads(const Communicator& world, const BenchOptions& options) {
  if (options.attention.threads > 0) return options.attention.threads;
  std::array<std::uint64_t, 1> threads{static_cast<std::uint64_t>(fair_threads(world.node()))};
  world.max(threads);
  return static_cast<int>(threads[0]);
}

ExitCode bench(const Communicator& world, const BenchOptions& options) {
  set_comm_timeout(options.attention.comm_timeout);
  const ReportFile report_file(world, options.attention.report);
  std::uint64_t bytes = 0;
  together(world, [&] { bytes = needed_bytes(options, world.size()); });
  check_memory(world, bytes, "the benchmark's tensors");
  const Stopwatch watch;
  const BenchResults results = measure(world, options);
  Report report;
  report.command = "bench";
  report.ranks = world.size();
  report.threads = most_threads(world, options);
  report.backend = backend_names(options);
  report.exchange = results.rings.empty() ? "" : results.rings[0].exchange;
  report.layout = name(LayoutKind::zigzag);
  report.seq_len = options.rows * world.size();
  report.seconds = watch.seconds();
  report.peak_rss_bytes = peak_rss_of_ranks(world);
  report_file.write(world, world.rank() == 0 ? bench_json(options, report, results) : Json());
  if (world.rank() == 0 && options.attention.report != "-") print(options, report, results);
  return ExitCode::done;
}

std::string help() {
  BenchOptions unread;
  return declare(unread)->help();
}

/// Refuses what the kernels would refuse on one rank only.
void check(const BenchOptions& options) {
  for (const DType dtype : options.dtypes()) (void)kernels::kernel_table(options.execution().backend, dtype);
  if (options.all_backends() && options.attention.dtype == DType::f64) {
    throw UsageError("--backend all does not take f64 (only reference computes in it); try --backend reference");
  }
  if (options.samples > most_samples) {
    throw UsageError(fmt::format("--samples {} (it would never end); try {}", options.samples, 25));
  }
  if (options.steps > std::min(options.rows, most_steps)) {
    throw UsageError(fmt::format("--steps {} (each brings a row at least, and {} are the most); try 8", options.steps, most_steps));
  }
  if (options.io_bytes > 0 && options.io_folder.empty()) {
    throw UsageError("--checkpoint-bytes without --checkpoint-folder (on which disk?); try --checkpoint-folder DIR");
  }
  if (options.head_dim > 256) {
    throw UsageError(
        fmt::format("--head-dim {} (kernels hold rows of at most 256 channels); try 64 or 128", options.head_dim));
  }
}

Job parse(std::span<const std::string> arguments) {
  BenchOptions options;
  declare(options)->parse(arguments);
  check(options);
  return [options](const Communicator& world) { return bench(world, options); };
}

}  // namespace

Command bench_command() { return {"bench", "rates of this machine: kernels, ring and checkpoints", help, parse}; }

}  // namespace annulus::launch
