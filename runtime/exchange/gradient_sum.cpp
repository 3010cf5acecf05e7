/// One loop for both types.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/exchange/gradient_sum.hpp"

namespace annulus {
namespace {

template <class T>
void add(std::byte* to, const std::byte* from, std::int64_t elements) {
  T* sum = reinterpret_cast<T*>(to);
  const T* term = reinterpret_cast<const T*>(from);
  for (std::int64_t i = 0; i < elements; ++i) sum[i] += term[i];
}

}  // namespace

void add_gradients(DType dtype, std::byte* to, const std::byte* from, std::int64_t elements) {
  dtype == DType::f64 ? add<double>(to, from, elements) : add<float>(to, from, elements);
}

}  // namespace annulus
