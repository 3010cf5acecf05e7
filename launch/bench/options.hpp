/// What `bench` was asked to measure. A GPU has defaults of its own: it is larger, and nothing of it is measured by the way.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/contract/attention.hpp"
#include "launch/options.hpp"
#include "runtime/engine/ring_attention.hpp"

namespace annulus::launch {

struct BenchOptions {
  AttentionOptions attention;
  std::vector<std::int64_t> rows;  ///< empty: see lengths(); ascending
  std::int64_t heads = 0;          ///< 0: see head_count(), and likewise those that follow
  std::int64_t head_dim = 0;
  std::int64_t samples = 0;
  std::int64_t steps = 0;
  bool compare = false;
  std::int64_t window = 0;
  std::string io_folder;      ///< empty: no rates of checkpoints
  std::int64_t io_bytes = 0;  ///< of a rank; 0: the default

  bool all_backends() const { return attention.backend == "all"; }
  bool on_gpu() const { return attention.backend == "cuda"; }

  std::vector<std::int64_t> lengths() const;
  std::vector<DType> dtypes() const;
  std::vector<std::int64_t> head_dims() const;
  std::vector<std::int64_t> windows() const;  ///< none: no rates of windows
  std::vector<kernels::Direction> directions() const;
  std::int64_t head_count() const;
  std::int64_t sample_count() const;
  std::int64_t step_count() const;  ///< 0: no rates of chained steps
  /// Of the causal masks, with and without a window, that are compared.
  std::int64_t window_rows(std::int64_t window) const;
  std::int64_t window_heads() const;
  Execution execution() const;
};

/// The options, to be parsed into `target`.
std::unique_ptr<Options> bench_options(BenchOptions& target);
/// Throws UsageError for what the kernels would refuse on one rank only. Local.
void check(const BenchOptions& options);

}  // namespace annulus::launch
