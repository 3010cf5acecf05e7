/// Projections by CBLAS.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/projection.hpp"

#include <cblas.h>

#include <cstddef>
#include <mutex>
#include <string_view>

#include "kernels/base/buffer.hpp"

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

bool takes_turns() {
  static const bool taken = blas_takes_turns();
  return taken;
}

template <class Call>
void with_blas(Call&& call) {
  static std::mutex turn;
  if (!takes_turns()) return call();
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

void project(const Projection& projection, std::int64_t rows, const float* from, float* to) {
  if (projection.way == Way::forward) return project(rows, projection.in, projection.out, from, projection.weights, to);
  project_backward(rows, projection.in, projection.out, from, projection.weights, to);
}

std::string blas_core() {
#if defined(OPENBLAS_VERSION)
  const bool chooses = std::string_view(openblas_get_config()).find("DYNAMIC_ARCH") != std::string_view::npos;
  return chooses ? openblas_get_corename() : "";
#else
  return "";
#endif
}

void prepare_projections(int threads) {
  constexpr std::int64_t work_bytes = std::int64_t{144} << 20;  // of addresses, per caller; OpenBLAS 0.3.21 takes 128 MiB
  Buffer<std::byte> proof((takes_turns() ? 1 : threads) * work_bytes);
  proof = {};
  const float one = 1;
  float product = 0;
  project(1, 1, 1, &one, &one, &product);
}

}  // namespace annulus::stack
