/// How fast this machine's cores are at what forecasts ask for.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/kernel_table.hpp"
#include "runtime/forecast/machine.hpp"

namespace annulus::launch {

/// Local; let all ranks call it at the same time, so that rates are those of a busy node. Medians of `samples`, by the CPU
/// time of the calling thread (of a GPU by its own).
forecast::KernelSpeed measure_speed(const kernels::KernelTable& table, DType dtype, std::int64_t head_dim,
                                    kernels::Direction direction, int samples);

struct RowSpeed {
  double projection_flops_per_second = 0;
  double weights_per_second = 0;
};
/// Local: of one core, likewise.
RowSpeed measure_rows(int samples);

}  // namespace annulus::launch
