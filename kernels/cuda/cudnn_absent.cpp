/// Stands in for cuDNN in a build without it.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/base/error.hpp"
#include "kernels/cuda/cudnn_attention.hpp"

namespace annulus::kernels::cuda {

bool has_cudnn() { return false; }
std::string cudnn_version() { return "not built (bench compares with nobody)"; }
std::unique_ptr<PeerAttention> cudnn_attention(const PeerShape&, const PeerInputs&) {
  throw UsageError("this build has no cuDNN; try one with -D ANNULUS_ENABLE_CUDNN=ON");
}

}  // namespace annulus::kernels::cuda
