/// Projections by CBLAS.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/projection.hpp"

#include <cblas.h>

#include <mutex>

namespace annulus::stack {
namespace {
/// Our workers are the threads of a rank, so BLAS itself runs on one: bits do not depend on how many there are. The
/// sequential OpenBLAS of Debian 12 (0.3.21) looks for a free work buffer without a lock, so two callers could get the
/// same one (seen in its machine code): calls take turns there, as with any BLAS that we do not know.
bool blas_takes_turns() {
#if defined(OPENBLAS_VERSION)
  openblas_set_num_threads(1);
  return openblas_get_parallel() == OPENBLAS_SEQUENTIAL;
#else
  return true;
#endif
}

template <class Call>
void with_blas(Call&& call) {
  static const bool takes_turns = blas_takes_turns();
  static std::mutex turn;
  if (!takes_turns) return call();
  const std::lock_guard lock(turn);
  call();
}

void multiply(CBLAS_TRANSPOSE transpose, std::int64_t rows, std::int64_t columns, std::int64_t inner, const float* a,
              const float* w, std::int64_t w_stride, float* c) {
  if (rows == 0) return;
  const auto m = static_cast<blasint>(rows);
  const auto n = static_cast<blasint>(columns);
  const auto k = static_cast<blasint>(inner);
  with_blas([&] {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, transpose, m, n, k, 1, a, k, w, static_cast<blasint>(w_stride), 0, c, n);
  });
}
}  // namespace

void project(std::int64_t rows, std::int64_t in, std::int64_t out, const float* x, const float* w, float* y) {
  multiply(CblasTrans, rows, out, in, x, w, in, y);
}

void project_backward(std::int64_t rows, std::int64_t in, std::int64_t out, const float* dy, const float* w,
                      float* dx) {
  multiply(CblasNoTrans, rows, in, out, dy, w, in, dx);
}

}  // namespace annulus::stack
