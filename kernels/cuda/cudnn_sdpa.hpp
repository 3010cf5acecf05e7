/// Attention as operation graphs of cuDNN, in the shape that its fused engines know.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/cudnn_attention.hpp"
#include "kernels/cuda/sdpa_graph.hpp"

namespace annulus::kernels::cuda::cudnn {

/// Tensors that memory is bound to; -1 where the direction has none. stats [batch, heads, rows, 1] are the natural log of the
/// sum of exponentials, the result of forward and an input of backward.
struct SdpaTensors {
  Tensor q = -1, k = -1, v = -1, out = -1, stats = -1;
  Tensor dout = -1, dq = -1, dk = -1, dv = -1;
  Tensor delta = -1;   ///< [batch, heads, rows, 1] f32: sum of dout * out; memory of the graph alone
  Tensor dq_sum = -1;  ///< dq in f32, likewise
  Tensor scale = -1, lowest = -1, one = -1;  ///< numbers: softmax_scale, -infinity, 1
};

/// q, k, v, out and their gradients are [batch, rows, heads, head_dim] in memory.
SdpaTensors add_forward(Graph& graph, const PeerShape& shape);
SdpaTensors add_backward(Graph& graph, const PeerShape& shape);

}  // namespace annulus::kernels::cuda::cudnn
