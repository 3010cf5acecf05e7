/// Rows of any element type as doubles: the only place of the reference that knows how tensors are stored.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/base/view.hpp"

namespace annulus::kernels::reference {

inline void load(DType dtype, const std::byte* from, std::int64_t count, double* to) {
  with_dtype(dtype, [&](auto element) {
    const auto* elements = reinterpret_cast<const decltype(element)*>(from);
    std::transform(elements, elements + count, to, [](auto x) { return to_double(x); });
  });
}

inline void store(DType dtype, const double* from, std::int64_t count, std::byte* to) {
  with_dtype(dtype, [&](auto element) {
    using T = decltype(element);
    std::transform(from, from + count, reinterpret_cast<T*>(to), [](double x) { return from_double<T>(x); });
  });
}

/// First byte of the head_dim elements of one (batch, row, head).
template <class Byte>
Byte* row_bytes(const BasicTensorView<Byte>& view, std::int64_t b, std::int64_t row, std::int64_t head) {
  const std::int64_t element = b * view.batch_stride + row * view.row_stride + head * view.head_stride;
  return view.data + element * static_cast<std::int64_t>(size_of(view.dtype));
}

inline void load_row(const ConstTensorView& view, std::int64_t b, std::int64_t row, std::int64_t head, double* to) {
  load(view.dtype, row_bytes(view, b, row, head), view.head_dim, to);
}

inline void store_row(const double* from, const TensorView& view, std::int64_t b, std::int64_t row, std::int64_t head) {
  store(view.dtype, from, view.head_dim, row_bytes(view, b, row, head));
}

}  // namespace annulus::kernels::reference
