/// The rate of one backend on one core, beside the peak of that core in the same moments.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/contract/attention.hpp"
#include "launch/bench_peak.hpp"
#include "launch/report.hpp"
#include "launch/samples.hpp"

namespace annulus::launch {

struct KernelShape {
  const kernels::KernelTable* table = nullptr;
  DType dtype = DType::f32;
  std::int64_t rows = 0;  ///< queries and keys
  std::int64_t heads = 1;
  std::int64_t head_dim = 64;
  bool causal = false;
  kernels::Direction direction = kernels::Direction::forward;
};

/// Useful GFLOP/s of one core by its CPU time.
struct KernelRate {
  KernelShape shape;
  Samples attend;  ///< attending alone
  Samples whole;   ///< with packing, set-up and finish
  Samples peak;    ///< multiply-adds of products() from registers, in the same moments

  /// What the backend multiplies here: the peak to hold it against.
  Products products() const {
    return shape.dtype == DType::bf16 && shape.table->bf16_products ? Products::bf16 : Products::f32;
  }
  double attend_fraction() const { return attend.median() / peak.median(); }
  double whole_fraction() const { return whole.median() / peak.median(); }
};

/// Local. Each sample is a burst at the peak, then one whole pass.
KernelRate measure_kernel(const KernelShape& shape, std::int64_t samples);

std::string kernel_table(const std::vector<KernelRate>& rates);
/// Two entries per rate: without and with packing.
Json kernels_to_json(const std::vector<KernelRate>& rates);

}  // namespace annulus::launch
