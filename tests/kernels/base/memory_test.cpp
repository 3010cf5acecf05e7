/// Sizes that are checked before they are used, and the memory they become.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <utility>

#include "kernels/base/buffer.hpp"
#include "kernels/base/checked.hpp"
#include "kernels/base/view.hpp"

namespace annulus {
namespace {

TEST(CheckedProduct, MultipliesUpTo63Bits) {
  EXPECT_EQ(checked_product({}), 1U);
  EXPECT_EQ(checked_product({3, 5, 7}), 105U);
  EXPECT_EQ(checked_product({std::int64_t{1} << 31, (std::int64_t{1} << 32) - 1}), 0x7fffffff80000000U);
  EXPECT_EQ(checked_product({0, std::numeric_limits<std::int64_t>::max()}), 0U);
}

TEST(CheckedProduct, RefusesWhatWouldWrap) {
  EXPECT_THROW(checked_product({std::int64_t{1} << 32, std::int64_t{1} << 31}), ResourceError);
  EXPECT_THROW(checked_product({std::int64_t{1} << 32, std::int64_t{1} << 32}), ResourceError);
  EXPECT_THROW(checked_product({4, -1}), ResourceError);
}

TEST(RoundUp, ReachesTheNextMultiple) {
  EXPECT_EQ(round_up(0, 64), 0);
  EXPECT_EQ(round_up(1, 64), 64);
  EXPECT_EQ(round_up(64, 64), 64);
  EXPECT_EQ(ceil_div(65, 64), 2);
}

TEST(BufferMemory, IsAlignedAndOwned) {
  Buffer<float> buffer(5);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % buffer_alignment, 0U);
  buffer.clear();
  for (const float x : buffer.span()) EXPECT_EQ(x, 0);
  const float* kept = buffer.data();
  const Buffer<float> moved = std::move(buffer);
  EXPECT_EQ(moved.data(), kept);
  EXPECT_EQ(moved.size(), 5);
}

TEST(BufferMemory, OfNoElementsIsNull) {
  const Buffer<double> empty(0);
  EXPECT_EQ(empty.data(), nullptr);
  EXPECT_TRUE(empty.span().empty());
  empty.clear();
}

TEST(BufferMemory, SaysHowMuchItCouldNotGet) {
  EXPECT_THROW(Buffer<double>{std::numeric_limits<std::int64_t>::max()}, ResourceError);
  try {
    const Buffer<std::byte> huge(std::int64_t{1} << 60);
    ADD_FAILURE() << "2^60 bytes were granted";
  } catch (const ResourceError& error) {
    EXPECT_NE(std::string(error.what()).find("1152921504606846976 bytes"), std::string::npos) << error.what();
  }
}

TEST(BufferPool, LendsTheSameMemoryToTheNextOfThatSize) {
  BufferPool pool;
  float* first = nullptr;
  {
    const Buffer<float> buffer(100, pool);
    first = buffer.data();
  }
  Buffer<float> again(100, pool);
  EXPECT_EQ(again.data(), first);
  const Buffer<float> beside(100, pool);
  EXPECT_NE(beside.data(), first) << "lent to two";
  const Buffer<float> other_size(1000, pool);
  EXPECT_NE(other_size.data(), first);
  again = Buffer<float>();  // gives back
  const Buffer<float> third(100, pool);
  EXPECT_EQ(third.data(), first);
}

TEST(TensorViews, FindElementsByTheirStrides) {
  Buffer<bf16> memory(2 * 3 * 4 * 5);
  const TensorView dense = dense_view(reinterpret_cast<std::byte*>(memory.data()), DType::bf16, 2, 3, 4, 5);
  EXPECT_EQ(dense.at<bf16>(1, 2, 3), memory.data() + ((1 * 3 + 2) * 4 + 3) * 5);
  const ConstTensorView constant = dense;
  EXPECT_EQ(constant.at<bf16>(1, 0, 2), dense.at<bf16>(1, 0, 2));
}

}  // namespace
}  // namespace annulus
