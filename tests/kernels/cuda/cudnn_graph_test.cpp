/// cuDNN takes the operations that we write down for it, recognises attention in them, and makes plans for an H100 that is only
/// described: the kernels are compiled, but not loaded.
// SPDX-License-Identifier: Apache-2.0
#include <cudnn_graph.h>
#include <gtest/gtest.h>

#include <string_view>

#include "kernels/cuda/cudnn_plan.hpp"
#include "kernels/cuda/cudnn_sdpa.hpp"

namespace annulus::kernels::cuda::cudnn {
namespace {

std::vector<PeerShape> shapes(Direction direction) {
  std::vector<PeerShape> all;
  for (const DType dtype : {DType::bf16, DType::f16}) {
    for (const std::int64_t head_dim : {64, 128, 256}) {
      for (const bool causal : {false, true}) all.push_back({dtype, 2, 3, 512, head_dim, causal, direction});
    }
  }
  return all;
}

TEST(CudnnGraph, TakesEveryOperationOfForward) {
  for (const PeerShape& shape : shapes(Direction::forward)) {
    Graph graph;
    const SdpaTensors tensors = add_forward(graph, shape);
    EXPECT_EQ(graph.operations().size(), shape.causal ? 14U : 10U);
    EXPECT_EQ(tensors.lowest >= 0, shape.causal);
    EXPECT_NO_THROW((void)build(graph, nullptr));
  }
}

TEST(CudnnGraph, TakesEveryOperationOfBackward) {
  for (const PeerShape& shape : shapes(Direction::backward)) {
    Graph graph;
    (void)add_backward(graph, shape);
    EXPECT_EQ(graph.operations().size(), shape.causal ? 22U : 18U);
    EXPECT_NO_THROW((void)build(graph, nullptr));
  }
}

/// The members are those that cuDNN 9.28 reads; their values, what CUDA tells of an H100 SXM.
constexpr std::string_view h100 = R"({"deviceName": "NVIDIA H100 80GB HBM3", "deviceVer": 900, "driverVer": 13000,
  "cudaDeviceId": 0, "totalGlobalMem": 85520809984, "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64],
  "regsPerBlock": 65536, "multiProcessorCount": 132, "smCountOrigin": 0, "warpSize": 32, "maxSharedMemoryPerBlock": 49152,
  "maxSharedMemoryPerBlockOptin": 232448, "oversizedSharedMemoryPerBlock": 0, "reservedSharedMemoryPerBlock": 1024,
  "maxRegistersPerSM": 65536, "maxCtasPerSM": 32, "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "pciDeviceId": 0,
  "isTccDriver": 0, "supportCoopLaunch": 1, "smClockRateKHz": 1980000, "memClockRateKHz": 2619000, "memoryBusWidth": 5120,
  "l2CacheSize": 52428800})";

TEST(CudnnGraph, HasPlansForEveryShapeOnAnH100) {
  Descriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  try {
    device.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, std::ssize(h100), h100.data());
    device.finalize("describe an H100");
  } catch (const CudnnError& error) {
    GTEST_SKIP() << "this cuDNN reads another description: " << error.what();
  }
  for (const Direction direction : {Direction::forward, Direction::backward}) {
    for (const PeerShape& shape : shapes(direction)) {
      if (shape.dtype != DType::bf16) continue;  // cuDNN compiles each plan: a second or two
      Graph graph;
      (void)(direction == Direction::forward ? add_forward(graph, shape) : add_backward(graph, shape));
      const Descriptor plan = make_plan(graph, {.device = &device});
      EXPECT_GE(plan.get_int64(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE), 0) << shape.head_dim;
    }
  }
}

TEST(CudnnGraph, TellsWhatDoesNotFit) {
  Graph graph;
  const Tensor a = graph.real(Element::bf16, Form::dense({1, 1, 4, 8}));
  const Tensor b = graph.real(Element::bf16, Form::dense({1, 1, 9, 4}));
  const Tensor c = graph.real(Element::bf16, Form::dense({1, 1, 4, 4}));
  graph.matmul(a, b, c);
  EXPECT_THROW((void)build(graph, nullptr), CudnnError) << "8 columns meet 9 rows";
}

}  // namespace
}  // namespace annulus::kernels::cuda::cudnn
