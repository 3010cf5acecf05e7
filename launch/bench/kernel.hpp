/// The rate of one backend on one core, beside the peak of that core in the same moments.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "kernels/contract/attention.hpp"
#include "launch/bench/peak.hpp"
#include "launch/bench/tensors.hpp"
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
  int steps = 1;  ///< blocks that the keys come in, as on a ring
  bool deterministic = false;
};

/// "causal" or "full".
const char* mask_word(const KernelShape& shape);

/// One attention of one core, or of one GPU, ready to run again and again.
class KernelBench {
 public:
  struct Seconds {  ///< of CPU time of the calling thread; of a device: of its own time, and of the clock
    double attend = 0;
    double whole = 0;
  };
  explicit KernelBench(const KernelShape& shape);
  Seconds run();
  /// Of the visible pairs.
  double flops() const;
  /// Inputs, and what the last run left: out, or dq, dk and dv.
  const BenchTensors& tensors() const { return tensors_; }

 private:
  const kernels::KernelTable& table() const { return *shape_.table; }
  bool on_device() const { return table().take_device_seconds != nullptr; }
  /// Seconds of the clock that `whole` counts in.
  double now() const;
  /// Runs `attend`, and returns what it took where the kernel runs.
  template <class Attend>
  double timed(Attend&& attend) const;
  kernels::BlockShape block_shape(int step) const {
    return {1, keys_.rows(step), shape_.heads, shape_.head_dim, shape_.dtype};
  }
  kernels::Block block(int step) const { return {block_shape(step), packed_[static_cast<std::size_t>(step)].data(), {}}; }
  template <class View>
  View keys_of(View view, int step) const;
  void pack(kernels::Direction direction);
  Seconds forward();
  Seconds backward();

  KernelShape shape_;
  Layout queries_;
  Layout keys_;
  std::vector<BlockMask> masks_;  ///< of each step, as what follows
  std::int64_t pairs_ = 0;
  Workers workers_{1};
  BufferPool memory_;
  BenchTensors tensors_;
  kernels::Problem problem_;
  std::vector<Buffer<std::byte>> packed_;
  std::vector<Buffer<std::byte>> gradients_;
};

/// Useful GFLOP/s of one core by its CPU time, or of one GPU.
struct KernelRate {
  KernelShape shape;
  Samples attend;  ///< attending alone
  Samples whole;   ///< with packing, set-up and finish
  Samples peak;    ///< multiply-adds of products() from registers, in the same moments; of a GPU not known

  /// What the backend multiplies here: the peak to hold it against.
  Products products() const {
    return shape.dtype == DType::bf16 && shape.table->bf16_products ? Products::bf16 : Products::f32;
  }
  /// Of the peak; NaN if that is not known.
  double attend_fraction() const { return fraction(attend); }
  double whole_fraction() const { return fraction(whole); }

 private:
  double fraction(const Samples& rate) const { return peak.empty() ? std::nan("") : rate.median() / peak.median(); }
};

/// Local. Each sample is a burst at the peak, then one whole pass.
KernelRate measure_kernel(const KernelShape& shape, std::int64_t samples);

std::string kernel_table(const std::vector<KernelRate>& rates);
/// Two entries per rate: without and with packing.
Json kernels_to_json(const std::vector<KernelRate>& rates);

}  // namespace annulus::launch
