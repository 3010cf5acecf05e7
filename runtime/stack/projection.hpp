/// Products of rows with a weight matrix. This room alone includes cblas.h, in projection.cpp.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace annulus::stack {

/// y = x W^T: x [rows, in], w [out, in], y [rows, out]; f32, dense, no aliasing. Extents fit 32 bits (see check()).
/// Any thread. Bits depend on the extents and the machine, not on threads.
void project(std::int64_t rows, std::int64_t in, std::int64_t out, const float* x, const float* w, float* y);

/// The gradient of project: dx = dy W, dy [rows, out], dx [rows, in].
void project_backward(std::int64_t rows, std::int64_t in, std::int64_t out, const float* dy, const float* w,
                      float* dx);

/// Takes the work memory that BLAS keeps from its first product on, for so many threads that call it at a time. OpenBLAS
/// asks for it again and again where there is none: that belongs where a failure can still be agreed on. Throws
/// ResourceError. Local.
void prepare_projections(int threads);

}  // namespace annulus::stack
