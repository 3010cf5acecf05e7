/// Products of rows with a weight matrix. This room alone includes cblas.h, in projection.cpp.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace annulus::stack {

enum class Matrix : std::uint8_t { qkv, out };   ///< of a layer
enum class Way : std::uint8_t { forward, backward };

/// One product of a stack, as described below. `weights`: [out, in].
struct Projection {
  std::int64_t layer = 0;
  Matrix matrix = Matrix::qkv;
  Way way = Way::forward;
  std::int64_t in = 0;
  std::int64_t out = 0;
  const float* weights = nullptr;

  /// Widths of the rows that it reads and writes.
  std::int64_t from() const { return way == Way::forward ? in : out; }
  std::int64_t to() const { return way == Way::forward ? out : in; }
};

/// y = x W^T: x [rows, in], w [out, in], y [rows, out]; f32, dense, no aliasing. Extents fit 32 bits (see check()).
/// Any thread. Bits depend on the extents and the machine, not on threads.
void project(std::int64_t rows, std::int64_t in, std::int64_t out, const float* x, const float* w, float* y);

/// The gradient of project: dx = dy W, dy [rows, out], dx [rows, in].
void project_backward(std::int64_t rows, std::int64_t in, std::int64_t out, const float* dy, const float* w,
                      float* dx);

/// Either of them.
void project(const Projection& projection, std::int64_t rows, const float* from, float* to);

/// The CPU whose kernels BLAS has chosen when it was loaded, as it calls it: "SkylakeX". Empty where it has no choice. Local.
std::string blas_core();

/// Takes the work memory that BLAS keeps from its first product on, for so many threads that call it at a time. OpenBLAS
/// asks for it again and again where there is none: that belongs where a failure can still be agreed on. Throws
/// ResourceError. Local.
void prepare_projections(int threads);

}  // namespace annulus::stack
