/// From a graph to a plan that cuDNN can execute.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/cudnn_graph.hpp"

namespace annulus::kernels::cuda::cudnn {

/// What a plan is made for: a GPU at hand, or the description of one. One of them is null.
struct Target {
  void* handle = nullptr;              ///< cudnnHandle_t
  const Descriptor* device = nullptr;  ///< CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, finalized: such plans are not executed here
};

/// The first plan of those that cuDNN proposes, best first, that it then makes. Throws ResourceError with its words if there is
/// none: it fuses what it recognises, on the GPUs that it has kernels for.
Descriptor make_plan(const Graph& graph, const Target& target);

}  // namespace annulus::kernels::cuda::cudnn
