/// The symbols of kernels/cuda (or its absent.cpp) and of runtime/comm/cuda_aware.cpp: linked first, they serve instead.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/emulated_cuda.hpp"

#include "kernels/cuda/cuda_table.hpp"
#include "kernels/cuda/device_memory.hpp"
#include "kernels/cuda/devices.hpp"
#include "kernels/cuda/passes.hpp"

namespace annulus {

namespace test {
EmulatedCuda& emulated_cuda() {
  static EmulatedCuda ours;
  return ours;
}
}  // namespace test

CudaAware mpi_cuda_aware() { return test::emulated_cuda().aware; }

namespace kernels {
namespace {
cuda::Device& find_device() { return test::emulated_device(test::emulated_cuda().hopper); }
}  // namespace

const KernelTable& cuda_table() {
  static const KernelTable row = cuda::device_row<find_device>("cuda", "");
  return row;
}

namespace cuda {

int visible_devices() { return 1; }
std::string cuda_versions() { return "emulated"; }
DeviceFacts device_facts(int) {
  return {"emulated", 90, test::emulated_cuda().identity, std::uint64_t{1} << 40, std::uint64_t{1} << 40};
}
int current_device() { return 0; }
void use_device(int) {}

const DeviceMemory& cuda_memory() {
  static constexpr DeviceMemory none{[](const void*) { return false; }, nullptr, nullptr};
  return none;
}

}  // namespace cuda
}  // namespace kernels
}  // namespace annulus
