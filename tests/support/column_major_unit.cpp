/// Strides too short are refused as BLAS refuses them, and reads outside the device's memory as the emulator does.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/column_major_unit.hpp"

#include "kernels/base/error.hpp"

namespace annulus::test {
namespace {

using kernels::cuda::MatrixProduct;

std::int64_t at(std::int64_t row, std::int64_t column, std::int64_t stride, bool transposed) {
  return transposed ? column + row * stride : row + column * stride;
}

/// Bytes from the first to behind the last element of a stored matrix.
std::size_t span_bytes(std::int64_t rows, std::int64_t columns, std::int64_t stride) {
  if (stride < rows) throw UsageError("a matrix has columns of " + std::to_string(rows) + " every " + std::to_string(stride));
  return static_cast<std::size_t>((columns - 1) * stride + rows) * sizeof(float);
}

void compute(const MatrixProduct& p) {
  for (std::int64_t column = 0; column < p.n; ++column) {
    for (std::int64_t row = 0; row < p.m; ++row) {
      double sum = 0;
      for (std::int64_t i = 0; i < p.k; ++i) {
        sum += static_cast<double>(p.a[at(row, i, p.a_stride, p.transpose_a)]) *
               static_cast<double>(p.b[at(i, column, p.b_stride, p.transpose_b)]);
      }
      p.c[row + column * p.c_stride] = static_cast<float>(sum);
    }
  }
}

}  // namespace

void ColumnMajorUnit::multiply(const MatrixProduct& product) {
  ++products_;
  device_.enqueue_kernel([this, p = product] {
    device_.check_memory(p.a, p.transpose_a ? span_bytes(p.k, p.m, p.a_stride) : span_bytes(p.m, p.k, p.a_stride));
    device_.check_memory(p.b, p.transpose_b ? span_bytes(p.n, p.k, p.b_stride) : span_bytes(p.k, p.n, p.b_stride));
    device_.check_memory(p.c, span_bytes(p.m, p.n, p.c_stride));
    compute(p);
  });
}

}  // namespace annulus::test
