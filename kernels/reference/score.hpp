/// The score of one (query, key) pair and its derivative, in double.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/contract/attention.hpp"

namespace annulus::kernels::reference {

struct Score {
  double s;      ///< the logit
  double slope;  ///< d(s) / d(q.k)
};

/// The distance |i - j| of a query row and a key row of a block; read only with ALiBi.
inline double distance(const Problem& problem, const Block& block, std::int64_t q_row, std::int64_t key_row) {
  if (problem.alibi_slopes.empty()) return 0;
  const std::int64_t i = problem.query_positions[static_cast<std::size_t>(q_row)];
  const std::int64_t j = block.positions[static_cast<std::size_t>(key_row)];
  return std::abs(static_cast<double>(i - j));
}

/// s = softmax_scale * q.k, then the softcap, then ALiBi.
inline Score score(const Problem& problem, std::int64_t head, double qk, double distance) {
  Score result{problem.softmax_scale * qk, problem.softmax_scale};
  if (problem.softcap > 0) {
    const double t = std::tanh(result.s / problem.softcap);
    result = {problem.softcap * t, problem.softmax_scale * (1 - t * t)};
  }
  if (!problem.alibi_slopes.empty()) {
    result.s -= static_cast<double>(problem.alibi_slopes[static_cast<std::size_t>(head)]) * distance;
  }
  return result;
}

/// Four partial sums: one would wait for each addition, and the demo's verification shows it.
inline double dot(const double* a, const double* b, std::int64_t count) {
  double sums[4] = {0, 0, 0, 0};
  std::int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (int lane = 0; lane < 4; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  }
  for (; i < count; ++i) sums[0] += a[i] * b[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/// y += factor * x
inline void add_scaled(double factor, const double* x, std::int64_t count, double* y) {
  for (std::int64_t i = 0; i < count; ++i) y[i] += factor * x[i];
}

}  // namespace annulus::kernels::reference
