/// `annulus bench`: rates of this machine for a shape, as fractions of the peak measured in the same process.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>

#include "kernels/base/stopwatch.hpp"
#include "kernels/kernel_table.hpp"
#include "launch/bench/io.hpp"
#include "launch/bench/kernel.hpp"
#include "launch/bench/options.hpp"
#include "launch/bench/peer.hpp"
#include "launch/bench/ring.hpp"
#include "launch/bench/steps.hpp"
#include "launch/bench/targets.hpp"
#include "launch/bench/tensors.hpp"
#include "launch/bench/window.hpp"
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

constexpr std::int64_t most_window_samples = 7;  ///< dense calls over 8 windows of rows take their time
constexpr std::int64_t most_io_samples = 9;      ///< each writes and reads all bytes twice
constexpr std::int64_t default_io_bytes = std::int64_t{256} << 20;

std::vector<const kernels::KernelTable*> backends(const BenchOptions& options, DType dtype) {
  if (!options.all_backends()) return {&kernels::kernel_table(options.attention.backend, dtype)};
  std::vector<const kernels::KernelTable*> rows;
  for (const kernels::KernelTable& table : kernels::kernel_tables()) {
    if (table.name != "reference" && table.unavailable.empty()) rows.push_back(&table);
  }
  return rows;
}

/// Calls add(dtype, table, head_dim) for each that was asked for.
template <class Add>
void for_each_kernel(const BenchOptions& options, Add&& add) {
  for (const DType dtype : options.dtypes()) {
    for (const kernels::KernelTable* table : backends(options, dtype)) {
      for (const std::int64_t head_dim : options.head_dims()) add(dtype, table, head_dim);
    }
  }
}

std::vector<KernelShape> kernel_shapes(const BenchOptions& options) {
  std::vector<KernelShape> shapes;
  for_each_kernel(options, [&](DType dtype, const kernels::KernelTable* table, std::int64_t head_dim) {
    for (const std::int64_t rows : options.lengths()) {
      for (const bool causal : {false, true}) {
        for (const Direction direction : options.directions()) {
          shapes.push_back({.table = table,
                            .dtype = dtype,
                            .rows = rows,
                            .heads = options.head_count(),
                            .head_dim = head_dim,
                            .mask = {.causal = causal},
                            .direction = direction,
                            .deterministic = options.attention.deterministic});
        }
      }
    }
  });
  return shapes;
}

std::vector<WindowShape> window_shapes(const BenchOptions& options) {
  std::vector<WindowShape> shapes;
  for (const std::int64_t window : options.windows()) {
    for_each_kernel(options, [&](DType dtype, const kernels::KernelTable* table, std::int64_t head_dim) {
      for (const Direction direction : options.directions()) {
        shapes.push_back({table, dtype, options.window_rows(window), options.window_heads(), head_dim, window, direction,
                          options.attention.deterministic});
      }
    });
  }
  return shapes;
}

std::vector<KernelShape> steps_shapes(const BenchOptions& options) {
  if (options.step_count() == 0) return {};
  std::vector<KernelShape> shapes = kernel_shapes(options);
  for (KernelShape& shape : shapes) shape.steps = static_cast<int>(options.step_count());
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
      for (const std::int64_t rows : options.lengths()) {
        for (const Direction direction : options.directions()) {
          shapes.push_back({dtype, rows, options.head_count(), head_dim, direction});
        }
      }
    }
  }
  return shapes;
}

/// Memory of the largest shape on the rank that needs most, by the same arithmetic as the ring's.
std::uint64_t needed_bytes(const BenchOptions& options, int ranks) {
  std::uint64_t most = 0;
  const std::int64_t head_dim = options.head_dims().back();
  for (const IoShape& shape : io_shapes(options, ranks)) most = std::max(most, io_bench_bytes(shape.bytes_per_rank));
  for (const DType dtype : options.dtypes()) {
    for (const Direction direction : options.directions()) {
      const RingShape shape{dtype, options.lengths().back(), options.head_count(), head_dim, direction};
      const std::uint64_t of_kernels = ring_bench_bytes(shape, options.execution(), 1);
      const bool two_at_a_time = options.step_count() > 0;
      most = std::max({most, ring_bench_bytes(shape, options.execution(), ranks), two_at_a_time ? 2 * of_kernels : 0});
      for (const std::int64_t window : options.windows()) {
        const RingShape dense{dtype, options.window_rows(window), options.window_heads(), head_dim, direction};
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
  std::vector<PeerRate> peers;  ///< of the kernels on a GPU, one for each if there is a peer
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
    results.f32_peak = measure_peak(Products::f32, options.sample_count());
    results.bf16_peak = measure_peak(Products::bf16, options.sample_count());
    for (const KernelShape& shape : kernels) {
      progress.show(fmt::format("kernel {} of {}", results.kernels.size() + 1, kernels.size()));
      results.kernels.push_back(measure_kernel(shape, options.sample_count()));
      if (has_peer(shape)) results.peers.push_back(measure_peer(shape, options.sample_count()));
    }
    for (const KernelShape& shape : steps) {
      progress.show(fmt::format("steps {} of {}", results.steps.size() + 1, steps.size()));
      results.steps.push_back(measure_steps(shape, options.sample_count()));
    }
    for (const WindowShape& shape : windows) {
      progress.show(fmt::format("window {} of {}", results.windows.size() + 1, windows.size()));
      results.windows.push_back(measure_window(shape, std::min(options.samples, most_window_samples)));
    }
  });
  const std::vector<RingShape> rings = ring_shapes(options, world.size());
  for (const RingShape& shape : rings) {
    progress.show(fmt::format("ring {} of {}", results.rings.size() + 1, rings.size()));
    results.rings.push_back(measure_ring(world, shape, options.execution(), options.sample_count()));
  }
  const std::vector<IoShape> io = io_shapes(options, world.size());
  for (const IoShape& shape : io) {
    progress.show(fmt::format("checkpoint {} of {}", results.io.size() + 1, io.size()));
    results.io.push_back(measure_io(world, shape, std::min(options.samples, most_io_samples)));
  }
  return results;
}

std::vector<Target> targets(const BenchOptions& options, const BenchResults& results) {
  if (options.on_gpu()) return compare_gpu(results.kernels, results.steps, results.windows);
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
  json["peers"] = options.on_gpu() ? peers_to_json(results.peers) : Json(nullptr);
  json["steps"] = results.steps.empty() ? Json(nullptr) : steps_to_json(results.steps);
  json["window"] = results.windows.empty() ? Json(nullptr) : windows_to_json(results.windows);
  json["ring"] = results.rings.empty() ? Json(nullptr) : rings_to_json(results.rings);
  json["io"] = results.io.empty() ? Json(nullptr) : io_to_json(results.io);
  json["targets"] = options.compare ? targets_to_json(targets(options, results)) : Json(nullptr);
  return json;
}

std::string peak_text(const Samples& peak) {
  return peak.median() > 0 ? fmt::format("{:.1f} GFLOP/s, one core", peak.median()) : "- (no such instructions here)";
}

void print(const BenchOptions& options, const Report& report, const BenchResults& results) {
  fmt::print("{}\n{}",
             facts_text({{"host", host_name()},
                         {"ranks", std::to_string(report.ranks)},
                         {"shape", fmt::format("{} rows per rank, {} heads", fmt::join(options.lengths(), ", "),
                                               options.head_count())},
                         {"f32 peak", peak_text(results.f32_peak)},
                         {"bf16 peak", peak_text(results.bf16_peak)}}),
             options.on_gpu() ? gpu_table(results.kernels, results.peers) : kernel_table(results.kernels));
  if (!results.steps.empty()) fmt::print("\n{}", steps_table(results.steps));
  if (!results.windows.empty()) fmt::print("\n{}", window_table(results.windows));
  if (!results.rings.empty()) fmt::print("\n{}", ring_table(results.rings));
  if (!results.io.empty()) fmt::print("\n{}", io_table(results.io));
  if (options.compare) fmt::print("\n{}", target_table(targets(options, results)));
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
  report.deterministic = options.attention.deterministic;
  report.ranks = world.size();
  report.threads = most_threads(world, options);
  report.backend = backend_names(options);
  report.exchange = results.rings.empty() ? "" : results.rings[0].exchange;
  report.layout = name(LayoutKind::zigzag);
  report.seq_len = options.lengths().back() * world.size();
  report.seconds = watch.seconds();
  report.peak_rss_bytes = peak_rss_of_ranks(world);
  report_file.write(world, world.rank() == 0 ? bench_json(options, report, results) : Json());
  if (world.rank() == 0 && options.attention.report != "-") print(options, report, results);
  return ExitCode::done;
}

std::string help() {
  BenchOptions unread;
  return bench_options(unread)->help();
}

Job parse(std::span<const std::string> arguments) {
  BenchOptions options;
  bench_options(options)->parse(arguments);
  check(options);
  return [options](const Communicator& world) { return bench(world, options); };
}

}  // namespace

Command bench_command() { return {"bench", "rates of this machine: kernels, ring and checkpoints", help, parse}; }

}  // namespace annulus::launch
