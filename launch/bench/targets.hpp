/// What Annulus has promised itself to reach, beside what was measured.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "launch/bench/io.hpp"
#include "launch/bench/kernel.hpp"
#include "launch/bench/ring.hpp"
#include "launch/bench/steps.hpp"
#include "launch/bench/window.hpp"

namespace annulus::launch {

/// What should be reached: a fraction of the peak of one core, of P times one rank, of plain calls on a disk, or of one call
/// on a GPU; or a rate of a GPU.
struct Target {
  enum class Unit { fraction, tflops };
  std::string metric;
  double floor = 0;   ///< below it something is wrong
  double target = 0;  ///< what a quiet machine should give
  std::optional<double> measured{};
  Unit unit = Unit::fraction;

  /// "target", "floor", "below the floor" or "not measured": what was reached.
  const char* reached() const;
};

/// The targets of one core (full mask, packing included), of windows against dense masks, of a ring of two ranks and of
/// checkpoints, with what was measured for them. Of several measurements for one target the lowest counts; those of small shapes, of
/// backends that "auto" would not take here and of more threads than cores count for none.
std::vector<Target> compare(const std::vector<KernelRate>& kernels, const std::vector<WindowRate>& windows,
                            const std::vector<RingRate>& rings, const std::vector<IoRates>& io);

/// The targets of an H100, whatever GPU this is: bf16 at head_dim 128 and 16384 rows, chained steps at 8192 rows, windows.
std::vector<Target> compare_gpu(const std::vector<KernelRate>& kernels, const std::vector<StepsRate>& steps,
                                const std::vector<WindowRate>& windows);

std::string target_table(const std::vector<Target>& targets);
Json targets_to_json(const std::vector<Target>& targets);

}  // namespace annulus::launch
