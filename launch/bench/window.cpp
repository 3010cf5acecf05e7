/// Two kernels in turns.
// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/window.hpp"

#include <fmt/format.h>

#include <cmath>

#include "launch/table.hpp"

namespace annulus::launch {

WindowRate measure_window(const WindowShape& shape, std::int64_t samples) {
  KernelShape kernel{.table = shape.table,
                     .dtype = shape.dtype,
                     .rows = shape.rows,
                     .heads = shape.heads,
                     .head_dim = shape.head_dim,
                     .mask = {.causal = true},
                     .direction = shape.direction,
                     .deterministic = shape.deterministic};
  KernelBench dense(kernel);
  kernel.mask.window_size = {shape.window - 1, 0};
  KernelBench window(kernel);
  const bool on_device = shape.table->take_device_seconds != nullptr;
  const int calls = on_device ? 1 : static_cast<int>(std::lround(dense.flops() / window.flops()));
  const auto rate = [&](KernelBench& bench, int times) {
    double seconds = 0;
    for (int i = 0; i < times; ++i) {
      const KernelBench::Seconds taken = bench.run();
      seconds += on_device ? taken.attend : taken.whole;
    }
    return times * bench.flops() / seconds;
  };
  rate(dense, 1);  // touch the memory
  rate(window, 1);
  WindowRate result{shape, {}};
  for (std::int64_t i = 0; i < samples; ++i) {
    const double dense_rate = rate(dense, 1);
    result.rate_vs_dense.add(rate(window, calls) / dense_rate);
  }
  return result;
}

std::string window_table(const std::vector<WindowRate>& rates) {
  Table table({"window", "backend", "dtype", "head_dim", "rows", "direction", "rate against dense", "p10..p90"});
  for (const WindowRate& rate : rates) {
    const Samples& samples = rate.rate_vs_dense;
    table.add({std::to_string(rate.shape.window), std::string(rate.shape.table->name),
               std::string(name(rate.shape.dtype)), std::to_string(rate.shape.head_dim),
               std::to_string(rate.shape.rows), std::string(word(rate.shape.direction)), fmt::format("{:.1f} %", 100 * samples.median()),
               fmt::format("{:.1f}..{:.1f}", 100 * samples.quantile(0.1), 100 * samples.quantile(0.9))});
  }
  return table.text();
}

Json windows_to_json(const std::vector<WindowRate>& rates) {
  Json entries = Json::array();
  for (const WindowRate& rate : rates) {
    entries.push_back({{"window", rate.shape.window},
                       {"backend", rate.shape.table->name},
                       {"dtype", name(rate.shape.dtype)},
                       {"head_dim", rate.shape.head_dim},
                       {"rows", rate.shape.rows},
                       {"direction", word(rate.shape.direction)},
                       {"rate_vs_dense", rate.rate_vs_dense.median()},
                       {"rate_vs_dense_p10", rate.rate_vs_dense.quantile(0.1)},
                       {"rate_vs_dense_p90", rate.rate_vs_dense.quantile(0.9)}});
  }
  return entries;
}

}  // namespace annulus::launch
