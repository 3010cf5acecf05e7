/// Tensors of the caller that lie on a device, as host tensors for the length of a call.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "kernels/base/buffer.hpp"
#include "kernels/base/view.hpp"
#include "kernels/cuda/device_memory.hpp"

namespace annulus {

/// Local. Views of host memory stay as they are, so a call may mix both.
class HostCopies {
 public:
  /// `backend` is empty if it takes device pointers, else its name. `stream`: inputs are ready there.
  HostCopies(const kernels::cuda::DeviceMemory& device, void* stream, std::string_view backend)
      : device_(device), stream_(stream), backend_(backend) {}

  /// Points an input to a dense host copy, complete after ready(). Throws UsageError, naming `what`, if the backend does
  /// not take device pointers, or if rows overlap.
  void read(const char* what, ConstTensorView& view);
  void read(const char* what, ConstRowStats& stats);
  /// Points a result to dense host memory that give_back() copies to the device.
  void write(const char* what, TensorView& view);
  void write(const char* what, RowStats& stats);
  void ready() const;
  /// The device has all results when this returns.
  void give_back() const;

 private:
  struct Result {
    TensorView host;
    TensorView device;
  };
  bool takes(const char* what, const ConstTensorView& view) const;
  TensorView dense_like(const ConstTensorView& view);
  void copy(const TensorView& to, const ConstTensorView& from) const;

  const kernels::cuda::DeviceMemory& device_;
  void* stream_;
  std::string_view backend_;
  std::vector<Buffer<std::byte>> buffers_;
  std::vector<Result> results_;
};

}  // namespace annulus
