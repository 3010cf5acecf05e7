/// Root-mean-square norm of rows with gain 1, and its derivative.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace annulus::stack {

inline constexpr double rms_epsilon = 1e-6;  ///< keeps a row of zeros finite

/// 1 / sqrt(mean_i x_i^2 + epsilon), the sum in f64 and in ascending order.
double rms_scale(const float* x, std::int64_t width);

/// n = x * rms_scale(x), row by row; `n` may be `x`. Both [rows, width].
void rms_norm(const float* x, std::int64_t rows, std::int64_t width, float* n);

/// Adds the gradient of the norm's input to `dx`:
///   r = rms_scale(x);  dx_i += r (dn_i - x_i r^2 mean_j(dn_j x_j))
/// x, dn and dx [rows, width].
void rms_norm_backward(const float* x, const float* dn, std::int64_t rows, std::int64_t width, float* dx);

}  // namespace annulus::stack
