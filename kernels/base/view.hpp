/// Views of tensors in the caller's memory: they own nothing and carry their strides.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/base/dtype.hpp"

namespace annulus {

/// Tensor [batch, rows, heads, head_dim]; strides in elements, the last dimension is contiguous.
template <class Byte>
struct BasicTensorView {
  Byte* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t batch = 0;
  std::int64_t rows = 0;
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t batch_stride = 0;
  std::int64_t row_stride = 0;
  std::int64_t head_stride = 0;

  /// First element of one (batch, row, head); T is the type that `dtype` names.
  template <class T>
  auto* at(std::int64_t b, std::int64_t row, std::int64_t head) const {
    using Element = std::conditional_t<std::is_const_v<Byte>, const T, T>;
    return reinterpret_cast<Element*>(data) + b * batch_stride + row * row_stride + head * head_stride;
  }
  operator BasicTensorView<const std::byte>() const  // NOLINT(google-explicit-constructor): as T* to const T*
    requires(!std::is_const_v<Byte>)
  {
    return {data, dtype, batch, rows, heads, head_dim, batch_stride, row_stride, head_stride};
  }
};
using TensorView = BasicTensorView<std::byte>;
using ConstTensorView = BasicTensorView<const std::byte>;

/// A view of dense memory in bshd order.
template <class Byte>
BasicTensorView<Byte> dense_view(Byte* data, DType dtype, std::int64_t batch, std::int64_t rows, std::int64_t heads,
                                 std::int64_t head_dim) {
  return {data, dtype, batch, rows, heads, head_dim, rows * heads * head_dim, heads * head_dim, head_dim};
}

/// One f32 per (batch, head, row), e.g. the log-sum-exp; rows are contiguous, strides in elements.
template <class Float>
struct BasicRowStats {
  Float* data = nullptr;
  std::int64_t batch = 0;
  std::int64_t heads = 0;
  std::int64_t rows = 0;
  std::int64_t batch_stride = 0;
  std::int64_t head_stride = 0;

  Float* at(std::int64_t b, std::int64_t head) const { return data + b * batch_stride + head * head_stride; }
  operator BasicRowStats<const Float>() const  // NOLINT(google-explicit-constructor)
    requires(!std::is_const_v<Float>)
  {
    return {data, batch, heads, rows, batch_stride, head_stride};
  }
};
using RowStats = BasicRowStats<float>;
using ConstRowStats = BasicRowStats<const float>;

template <class Float>
BasicRowStats<Float> dense_stats(Float* data, std::int64_t batch, std::int64_t heads, std::int64_t rows) {
  return {data, batch, heads, rows, heads * rows, rows};
}

}  // namespace annulus
