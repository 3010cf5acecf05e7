/// What a narrow mask costs beside a dense one: the useful rate of windows.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "launch/bench/kernel.hpp"

namespace annulus::launch {

struct WindowShape {
  const kernels::KernelTable* table = nullptr;
  DType dtype = DType::f32;
  std::int64_t rows = 8192;     ///< several windows, so that the first, which sees less, counts little
  std::int64_t heads = 1;
  std::int64_t head_dim = 64;
  std::int64_t window = 1024;  ///< sliding_window: a token and those before it
  kernels::Direction direction = kernels::Direction::forward;
  bool deterministic = false;
};

/// Useful flops per second of the window over those of the causal mask on the same rows: whole calls on one core by its CPU
/// time, or attending alone on one GPU by its own.
struct WindowRate {
  WindowShape shape;
  Samples rate_vs_dense;
};

/// Local. Each sample is one dense call, then as many with the window as visit the same number of pairs: alike in length, so
/// that neither has to fetch more of its tensors from behind the caches than the other. On a GPU it is one call of each.
WindowRate measure_window(const WindowShape& shape, std::int64_t samples);

std::string window_table(const std::vector<WindowRate>& rates);
Json windows_to_json(const std::vector<WindowRate>& rates);

}  // namespace annulus::launch
