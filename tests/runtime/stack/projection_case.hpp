/// Rows projected through a device and by the processor, and how near they must come.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <span>

#include "kernels/base/dtype.hpp"
#include "runtime/stack/device_projection.hpp"

namespace annulus::stack {

/// The tolerance of f32 (docs), for elements near 1.
inline constexpr double f32_limit = 1e-5;

/// Uniform numbers, a function of `stream`.
void fill(std::span<float> values, std::uint64_t stream);

/// NaN fails, too.
template <class T>
void expect_near(std::span<const T> got, std::span<const T> wanted, double limit, const char* what) {
  ASSERT_EQ(got.size(), wanted.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double g = to_double(got[i]);
    const double w = to_double(wanted[i]);
    ASSERT_LE(std::abs(g - w), limit * std::max(1.0, std::abs(w))) << what << " at " << i;
  }
}

/// Expects rows through `unit` to be near those of project().
void judge_projection(kernels::cuda::MatrixUnit& unit, Way way, std::int64_t rows, std::int64_t in, std::int64_t out);

}  // namespace annulus::stack
