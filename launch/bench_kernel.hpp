/// The rate of one backend on one core, beside the peak of that core in the same moments.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/contract/attention.hpp"
#include "launch/bench_peak.hpp"
#include "launch/bench_tensors.hpp"
#include "launch/report.hpp"
#include "launch/samples.hpp"

namespace annulus::launch {

struct KernelShape {
  const kernels::KernelTable* table = nullptr;
  DType dtype = DType::f32;
  std::int64_t rows = 0;  ///< queries and keys
  std::int64_t heads = 1;
  std::int64_t head_dim = 64;
  MaskSpec mask{};
  kernels::Direction direction = kernels::Direction::forward;
};

/// One attention of one core, ready to run again and again.
class KernelBench {
 public:
  struct Seconds {  ///< of CPU time of the calling thread
    double attend = 0;
    double whole = 0;
  };
  explicit KernelBench(const KernelShape& shape);
  Seconds run();
  /// Of the visible pairs.
  double flops() const;

 private:
  const kernels::KernelTable& table() const { return *shape_.table; }
  kernels::BlockShape block_shape() const { return {1, shape_.rows, shape_.heads, shape_.head_dim, shape_.dtype}; }
  kernels::Block block(const std::byte* packed) const { return {block_shape(), packed, {}}; }
  Seconds forward(std::byte* packed);
  Seconds backward();

  KernelShape shape_;
  Layout layout_;
  BlockMask mask_;
  Workers workers_{1};
  BufferPool memory_;
  BenchTensors tensors_;
  kernels::Problem problem_;
  Buffer<std::byte> packed_;
  Buffer<std::byte> gradient_;
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
