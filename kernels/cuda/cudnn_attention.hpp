/// cuDNN's fused attention, to hold ours against: the same tensors, timed on the same GPU. For bench and tests.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/base/view.hpp"
#include "kernels/contract/attention.hpp"

namespace annulus::kernels::cuda {

struct PeerShape {
  DType dtype = DType::bf16;
  std::int64_t batch = 1;
  std::int64_t heads = 1;
  std::int64_t rows = 0;  ///< queries and keys
  std::int64_t head_dim = 64;
  bool causal = false;
  Direction direction = Direction::forward;
};

/// Dense host tensors [batch, rows, heads, head_dim]; dout for backward alone.
struct PeerInputs {
  ConstTensorView q, k, v, dout;
};

class PeerAttention {
 public:
  virtual ~PeerAttention() = default;
  /// Seconds that one call takes on the GPU, by events around it.
  virtual double run() = 0;
  /// What the last call left, [batch, rows, heads, head_dim] in the dtype: out, or dq, dk and dv one behind the other.
  virtual std::vector<std::byte> results() = 0;
};

bool has_cudnn();
/// "9.28.1", or that this build has none.
std::string cudnn_version();
/// On the GPU of this process, its inputs uploaded. Throws Error with cuDNN's words if it has no engine for the shape there.
std::unique_ptr<PeerAttention> cudnn_attention(const PeerShape& shape, const PeerInputs& inputs);

}  // namespace annulus::kernels::cuda
