/// The norm and its derivative, sums in f64.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/rms_norm.hpp"

#include <cmath>

namespace annulus::stack {
namespace {
double dot(const float* a, const float* b, std::int64_t size) {
  double sum = 0;
  for (std::int64_t i = 0; i < size; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}
}  // namespace

double rms_scale(const float* x, std::int64_t width) {
  return 1 / std::sqrt(dot(x, x, width) / static_cast<double>(width) + rms_epsilon);
}

void rms_norm(const float* x, std::int64_t rows, std::int64_t width, float* n) {
  for (std::int64_t row = 0; row < rows; ++row, x += width, n += width) {
    const double scale = rms_scale(x, width);
    for (std::int64_t i = 0; i < width; ++i) n[i] = static_cast<float>(scale * static_cast<double>(x[i]));
  }
}

void rms_norm_backward(const float* x, const float* dn, std::int64_t rows, std::int64_t width, float* dx) {
  for (std::int64_t row = 0; row < rows; ++row, x += width, dn += width, dx += width) {
    const double scale = rms_scale(x, width);
    const double pull = scale * scale * dot(dn, x, width) / static_cast<double>(width);
    for (std::int64_t i = 0; i < width; ++i) {
      const double slope = scale * (static_cast<double>(dn[i]) - pull * static_cast<double>(x[i]));
      dx[i] = static_cast<float>(static_cast<double>(dx[i]) + slope);
    }
  }
}

}  // namespace annulus::stack
