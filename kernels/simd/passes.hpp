/// The passes of the SIMD rows, written once over the tile code of any instruction set.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/simd/geometry.hpp"

namespace annulus::kernels::simd {

std::unique_ptr<ForwardPass> make_forward(const TileOps& ops, const Problem& problem, const ConstTensorView& q,
                                          Resources resources);
std::unique_ptr<BackwardPass> make_backward(const TileOps& ops, const Problem& problem, const BackwardInputs& inputs,
                                            Resources resources);

/// Calls `progress` on the thread of worker 0 whenever about 100 us of its work have passed; one per attend.
class Pacer {
 public:
  explicit Pacer(const Progress& progress) : progress_(progress) {}
  /// `work` in fused multiply-adds: 5 million take 100 us at 100 GFLOP/s, the rate of a fast core in f32.
  void worked(int worker, std::int64_t work) {
    if (worker != 0) return;
    done_ += work;
    if (done_ < 5'000'000) return;
    done_ = 0;
    if (progress_) progress_();
  }
  /// While a worker can only wait.
  void waited(int worker) const {
    if (worker == 0 && progress_) progress_();
  }

 private:
  const Progress& progress_;
  std::int64_t done_ = 0;
};

}  // namespace annulus::kernels::simd
