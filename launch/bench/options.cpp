/// Options of `bench` and their defaults.
// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/options.hpp"

#include <fmt/format.h>

#include "kernels/kernel_table.hpp"

namespace annulus::launch {
namespace {

using kernels::Direction;

constexpr std::int64_t most_samples = 100'000;
constexpr std::int64_t most_steps = 4096;
constexpr std::int64_t fewest_io_bytes = std::int64_t{1} << 20;
constexpr std::int64_t windows_of_rows = 8;
constexpr std::int64_t fewest_window_rows_on_gpu = 16384;  ///< fewer leave it idle

}  // namespace

std::vector<std::int64_t> BenchOptions::lengths() const {
  if (!rows.empty()) return rows;
  return on_gpu() ? std::vector<std::int64_t>{2048, 8192, 16384} : std::vector<std::int64_t>{1536};
}

std::vector<DType> BenchOptions::dtypes() const {
  if (attention.dtype) return {*attention.dtype};
  return on_gpu() ? std::vector<DType>{DType::bf16, DType::f16} : std::vector<DType>{DType::f32, DType::bf16};
}

std::vector<std::int64_t> BenchOptions::head_dims() const {
  if (head_dim > 0) return {head_dim};
  return on_gpu() ? std::vector<std::int64_t>{64, 128, 256} : std::vector<std::int64_t>{64, 128};
}

std::vector<std::int64_t> BenchOptions::windows() const {
  if (window > 0) return {window};
  return compare || on_gpu() ? std::vector<std::int64_t>{1024, 256} : std::vector<std::int64_t>{};
}

std::vector<Direction> BenchOptions::directions() const {
  if (attention.backward || compare || on_gpu()) return {Direction::forward, Direction::backward};
  return {Direction::forward};
}

std::int64_t BenchOptions::head_count() const { return heads > 0 ? heads : on_gpu() ? 16 : 2; }
std::int64_t BenchOptions::sample_count() const { return samples > 0 ? samples : on_gpu() ? 7 : 25; }
std::int64_t BenchOptions::step_count() const { return steps > 0 ? steps : on_gpu() ? 8 : 0; }

std::int64_t BenchOptions::window_rows(std::int64_t wanted) const {
  const auto least = static_cast<std::int64_t>(checked_product({windows_of_rows, wanted}));
  if (!on_gpu()) return least;
  return rows.empty() ? std::max(least, fewest_window_rows_on_gpu) : std::max(wanted, rows.back());
}

std::int64_t BenchOptions::window_heads() const { return on_gpu() ? head_count() : 1; }

Execution BenchOptions::execution() const {
  return {.backend = all_backends() ? "auto" : attention.backend, .exchange = attention.exchange, .threads = attention.threads,
          .deterministic = attention.deterministic};
}

std::unique_ptr<Options> bench_options(BenchOptions& target) {
  auto options = std::make_unique<Options>("bench [options]",
                                           "Rates of this machine: the kernels on one core of rank 0, by its CPU time, "
                                           "as fractions of the multiply-add peak measured in\n"
                                           "the same moments (medians, and the spread between the 10th and 90th "
                                           "percentile); and with several ranks the ring,\n"
                                           "causal and zigzag, against one rank on the same sequence. --backend all "
                                           "compares all that run here but reference.\n"
                                           "--backend cuda is timed by the GPU's own clock, on larger shapes, with chained "
                                           "steps and windows, and beside cuDNN's\n"
                                           "attention if this build has it. With --checkpoint-folder also how near "
                                           "checkpoints come to that disk.");
  options->sizes("rows", "N[,N...]", target.rows, 1,
                 "queries and keys of each rank; several ascend (default 1536; cuda: 2k,8k,16k)");
  options->size("heads", "H", target.heads, 1, "query, key and value heads (default 2; cuda: 16)");
  options->size("head-dim", "D", target.head_dim, 1,
                "channels of a head, 1 to 256 (default: 64 and 128; cuda: 256, too)");
  options->size("samples", "K", target.samples, 1, "measurements behind each figure (default 25; cuda: 7)");
  options->size("steps", "P", target.steps, 2,
                "also the rate of P chained ring steps over the same keys against one call (cuda: 8)");
  options->size("sliding-window", "W", target.window, 1,
                "also the useful rate of a window of W tokens against the dense mask (with --compare, and cuda: 1024 and 256)");
  options->text("checkpoint-folder", "DIR", target.io_folder,
                "also what saving and loading a checkpoint there reach of plain pwrite and fsync, and of pread");
  options->size("checkpoint-bytes", "N", target.io_bytes, fewest_io_bytes,
                "bytes of each rank in that checkpoint (default 256M); all ranks' must fit into DIR");
  options->flag("compare", target.compare, "print what should be reached beside what was measured; implies --backward");
  add_execution_options(*options, target.attention);
  return options;
}

void check(const BenchOptions& options) {
  for (const DType dtype : options.dtypes()) (void)kernels::kernel_table(options.execution().backend, dtype);
  if (options.all_backends() && options.attention.dtype == DType::f64) {
    throw UsageError("--backend all does not take f64 (only reference computes in it); try --backend reference");
  }
  if (options.samples > most_samples) {
    throw UsageError(fmt::format("--samples {} (it would never end); try {}", options.samples, 25));
  }
  if (options.step_count() > std::min(options.lengths().front(), most_steps)) {
    throw UsageError(
        fmt::format("--steps {} (each brings a row at least, and {} are the most); try 8", options.step_count(), most_steps));
  }
  if (options.io_bytes > 0 && options.io_folder.empty()) {
    throw UsageError("--checkpoint-bytes without --checkpoint-folder (on which disk?); try --checkpoint-folder DIR");
  }
  if (options.head_dim > 256) {
    throw UsageError(
        fmt::format("--head-dim {} (kernels hold rows of at most 256 channels); try 64 or 128", options.head_dim));
  }
}

}  // namespace annulus::launch
