/// The tensors of one attention that is run for its speed: self-attention, batch 1, as many kv heads as heads.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/base/buffer.hpp"
#include "kernels/base/view.hpp"
#include "runtime/stack/seeded.hpp"

namespace annulus::launch {

class BenchTensors {
  static constexpr std::int64_t inputs = 4;  ///< the first ones: random, the others are results
  static constexpr std::int64_t tensors = 8;
  std::int64_t elements_;  ///< of one tensor
  Buffer<std::byte> memory_;
  Buffer<float> lse_;

 public:
  BenchTensors(DType dtype, std::int64_t rows, std::int64_t heads, std::int64_t head_dim)
      : elements_(static_cast<std::int64_t>(checked_product({rows, heads, head_dim}))),
        memory_(static_cast<std::int64_t>(bytes(dtype, rows, heads, head_dim))),
        lse_(heads * rows),
        lse(dense_stats(lse_.data(), 1, heads, rows)) {
    std::byte* next = memory_.data();
    for (TensorView* view : {&q, &k, &v, &dout, &out, &dq, &dk, &dv}) {
      *view = dense_view(next, dtype, 1, rows, heads, head_dim);
      next += elements_ * static_cast<std::int64_t>(size_of(dtype));
    }
    with_dtype(dtype, [this](auto element) { fill_inputs<decltype(element)>(); });
  }

  /// Bytes of the tensors above, without lse.
  static std::uint64_t bytes(DType dtype, std::int64_t rows, std::int64_t heads, std::int64_t head_dim) {
    return checked_product({tensors, rows, heads, head_dim, static_cast<std::int64_t>(size_of(dtype))});
  }

  TensorView q, k, v, dout, out, dq, dk, dv;
  RowStats lse;

 private:
  template <class T>
  void fill_inputs() {
    const stack::Seeded random(1, {});
    T* values = reinterpret_cast<T*>(memory_.data());
    for (std::int64_t i = 0; i < inputs * elements_; ++i) {
      values[i] = from_double<T>(random.uniform(static_cast<std::uint64_t>(i)));
    }
  }
};

}  // namespace annulus::launch
