/// The kernels of a GPU beside cuDNN's fused attention, sample by sample on the same tensors.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "launch/bench/kernel.hpp"

namespace annulus::launch {

struct PeerRate {
  KernelShape shape;
  Samples gflops;          ///< of the peer's call, by GPU events around it
  Samples ours_to_theirs;  ///< of our rate attending alone to theirs, taken in turns
  double difference = 0;   ///< largest between our results and theirs, relative to their largest element
  std::string refusal;     ///< why there is nothing above
};

/// Whether there is somebody to compare with: a GPU, 16-bit elements, no window, and cuDNN in this build.
bool has_peer(const KernelShape& shape);

/// Local. Each sample is one pass of ours, then one call of the peer. A peer that refuses the shape says why.
PeerRate measure_peer(const KernelShape& shape, std::int64_t samples);

/// TFLOP/s of the kernels, with the peers that there are (none, or one for each 16-bit kernel, in their order).
std::string gpu_table(const std::vector<KernelRate>& rates, const std::vector<PeerRate>& peers);
Json peers_to_json(const std::vector<PeerRate>& peers);

}  // namespace annulus::launch
