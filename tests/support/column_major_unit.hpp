/// A matrix unit of an emulated device: plain loops by the letter of BLAS, in f64.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/matrix_unit.hpp"
#include "tests/support/emulated_device.hpp"

namespace annulus::test {

class ColumnMajorUnit final : public kernels::cuda::MatrixUnit {
 public:
  explicit ColumnMajorUnit(EmulatedDevice& device) : device_(device) {}

  kernels::cuda::Device& device() override { return device_; }
  void multiply(const kernels::cuda::MatrixProduct& product) override;

  std::int64_t products() const { return products_; }

 private:
  EmulatedDevice& device_;
  std::int64_t products_ = 0;
};

}  // namespace annulus::test
