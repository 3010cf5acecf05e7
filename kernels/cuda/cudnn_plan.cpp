/// Heuristics propose engines; the first one that can be had is taken.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cudnn_plan.hpp"

#include <cudnn_graph.h>

#include <string>

namespace annulus::kernels::cuda::cudnn {
namespace {

std::vector<Descriptor> configurations(const Descriptor& graph, const Target& target) {
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  if (target.device != nullptr) heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *target.device);
  heuristics.finalize("find an engine");
  std::int64_t count = 0;
  const auto get = [&](std::int64_t wanted, void* values) {
    check_cudnn(cudnnBackendGetAttribute(heuristics.raw(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, wanted,
                                         &count, values),
                "name its engines");
  };
  get(0, nullptr);
  std::vector<Descriptor> found;
  std::vector<void*> raw;
  for (std::int64_t i = 0; i < count; ++i) raw.push_back(found.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).raw());
  get(count, raw.data());  // fewer, where an engine turns out not to fit
  found.erase(found.begin() + count, found.end());
  return found;
}

Descriptor plan_of(const Descriptor& configuration, Target target) {
  Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  if (target.handle != nullptr) plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &target.handle);
  if (target.device != nullptr) plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *target.device);
  plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
  plan.finalize("make a plan");
  return plan;
}

}  // namespace

Descriptor make_plan(const Graph& graph, const Target& target) {
  std::string why = "it knows no engine for this shape";
  const BuiltGraph built = build(graph, target.handle);
  for (const Descriptor& configuration : configurations(built.graph.front(), target)) {
    try {
      return plan_of(configuration, target);
    } catch (const CudnnError& error) {
      why = error.what();
    }
  }
  throw ResourceError("cuDNN has no plan for this attention (" + why + "); try another shape");
}

}  // namespace annulus::kernels::cuda::cudnn
