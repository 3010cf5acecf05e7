/// Questions to the CUDA runtime.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/devices.hpp"

#include <cuda_runtime_api.h>

#include <functional>
#include <string_view>

#include "kernels/cuda/cuda_error.hpp"

namespace annulus::kernels::cuda {
namespace {

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

/// The current device as before, when this ends.
class DeviceInUse {
 public:
  explicit DeviceInUse(int device) : before_(current_device()) { use_device(device); }
  ~DeviceInUse() { static_cast<void>(cudaSetDevice(before_)); }
  DeviceInUse(const DeviceInUse&) = delete;
  DeviceInUse& operator=(const DeviceInUse&) = delete;

 private:
  int before_;
};

/// Released by this process, but not yet given back by its pool.
std::uint64_t pooled_bytes(int device) {
  cudaMemPool_t pool = nullptr;
  std::uint64_t reserved = 0;
  std::uint64_t used = 0;
  check_cuda(cudaDeviceGetDefaultMemPool(&pool, device), "tell its pool of memory");
  check_cuda(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &reserved), "tell what its pool holds");
  check_cuda(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &used), "tell what is used of its pool");
  return reserved - used;
}

}  // namespace

int visible_devices() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) == cudaSuccess) return devices;
  static_cast<void>(cudaGetLastError());  // no driver, no device: not an error here
  return 0;
}

std::string cuda_versions() {
  int driver = 0;  // stays where there is none
  check_cuda(cudaDriverGetVersion(&driver), "tell the driver's version");
  return (driver == 0 ? "no driver" : "driver " + version_text(driver)) + ", runtime " + version_text(CUDART_VERSION);
}

DeviceFacts device_facts(int device) {
  const DeviceInUse in_use(device);
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device), "tell its properties");
  std::size_t free = 0;
  std::size_t total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "tell its free memory");
  free += pooled_bytes(device);
  const std::string_view uuid(properties.uuid.bytes, sizeof properties.uuid.bytes);
  return {properties.name, properties.major * 10 + properties.minor, std::hash<std::string_view>{}(uuid), free, total};
}

int current_device() {
  int device = 0;
  check_cuda(cudaGetDevice(&device), "tell which one is chosen");
  return device;
}

void use_device(int device) { check_cuda(cudaSetDevice(device), "be chosen"); }

}  // namespace annulus::kernels::cuda
