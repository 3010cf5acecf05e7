/// Copies of device tensors, over a device whose memory is an array of the test that only its copies may read.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/device/host_copies.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "kernels/base/error.hpp"

namespace annulus {
namespace {

using kernels::cuda::DeviceMemory;
using kernels::cuda::RowCopy;

std::array<float, 256> on_device;
std::vector<RowCopy> enqueued;  ///< copies land when the stream is waited for

bool holds(const void* p) { return on_device.data() <= p && p < on_device.data() + on_device.size(); }
void enqueue(const RowCopy& rows, void*) { enqueued.push_back(rows); }
void land(void* stream) {
  EXPECT_EQ(stream, &on_device) << "another stream than the caller's";
  for (const RowCopy& copy : enqueued) {
    for (std::int64_t row = 0; row < copy.rows; ++row) {
      std::memcpy(static_cast<std::byte*>(copy.to) + row * copy.to_pitch,
                  static_cast<const std::byte*>(copy.from) + row * copy.from_pitch, static_cast<std::size_t>(copy.row_bytes));
    }
  }
  enqueued.clear();
}
constexpr DeviceMemory fake{holds, enqueue, land};

class HostCopiesTest : public testing::Test {
 protected:
  void SetUp() override {
    enqueued.clear();
    for (std::size_t i = 0; i < on_device.size(); ++i) on_device[i] = static_cast<float>(i);
  }
  /// Heads outside, rows apart: no stride is that of a dense tensor.
  static TensorView strided() {
    return {reinterpret_cast<std::byte*>(on_device.data() + 1), DType::f32, 2, 3, 2, 4, 100, 7, 40};
  }
};

TEST_F(HostCopiesTest, InputsArriveElementByElement) {
  HostCopies copies(fake, &on_device, "");
  const TensorView device = strided();
  ConstTensorView host = device;
  copies.read("q", host);
  copies.ready();
  EXPECT_FALSE(holds(host.data));
  for (std::int64_t b = 0; b < 2; ++b) {
    for (std::int64_t row = 0; row < 3; ++row) {
      for (std::int64_t head = 0; head < 2; ++head) {
        for (int i = 0; i < 4; ++i) EXPECT_EQ(host.at<float>(b, row, head)[i], device.at<float>(b, row, head)[i]);
      }
    }
  }
}

TEST_F(HostCopiesTest, ResultsGoHomeAndNowhereElse) {
  HostCopies copies(fake, &on_device, "");
  const std::array<float, 256> before = on_device;
  const TensorView device = strided();
  TensorView host = device;
  copies.write("out", host);
  std::fill_n(host.at<float>(0, 0, 0), 2 * 3 * 2 * 4, -1.0F);
  copies.give_back();
  std::int64_t changed = 0;
  for (std::size_t i = 0; i < before.size(); ++i) changed += on_device[i] != before[i] ? 1 : 0;
  EXPECT_EQ(changed, 2 * 3 * 2 * 4);
  EXPECT_EQ(device.at<float>(1, 2, 1)[3], -1);
}

TEST_F(HostCopiesTest, StatsComeAndGo) {
  HostCopies copies(fake, &on_device, "");
  const RowStats device{on_device.data() + 5, 2, 3, 4, 50, 9};
  ConstRowStats input = device;
  RowStats result = device;
  copies.read("lse", input);
  copies.write("lse", result);
  copies.ready();
  EXPECT_EQ(input.at(1, 2)[3], device.at(1, 2)[3]);
  result.at(1, 2)[3] = -7;
  copies.give_back();
  EXPECT_EQ(device.at(1, 2)[3], -7);
}

TEST_F(HostCopiesTest, HostMemoryStaysWhereItIs) {
  HostCopies copies(fake, nullptr, "reference");
  std::array<float, 8> values{};
  ConstTensorView view = dense_view<const std::byte>(reinterpret_cast<const std::byte*>(values.data()), DType::f32, 1, 2, 1, 4);
  const std::byte* const data = view.data;
  copies.read("q", view);
  copies.ready();  // of a stream that is none: nothing waits
  copies.give_back();
  EXPECT_EQ(view.data, data);
}

TEST_F(HostCopiesTest, CpuBackendsRefuseByName) {
  HostCopies copies(fake, &on_device, "avx2");
  TensorView view = strided();
  try {
    copies.write("dk", view);
    FAIL() << "not refused";
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(),
                 "dk points to memory of a GPU (backend avx2 reads host memory); try backend cuda, or copy it");
  }
}

TEST_F(HostCopiesTest, RefusesRowsThatOverlap) {
  HostCopies copies(fake, &on_device, "");
  TensorView view = strided();
  view.row_stride = 3;
  EXPECT_THROW(copies.write("out", view), UsageError);
}

}  // namespace
}  // namespace annulus
