/// The one place where a backend is chosen: by name, or the best that this machine runs.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "kernels/contract/attention.hpp"

namespace annulus::kernels {

/// Every backend this build knows, best last; also the absent ones, whose row says why.
std::span<const KernelTable> kernel_tables();

/// `wanted`: "auto" or "simd" (the best CPU row this machine runs), or a row's name. Throws UsageError that lists what
/// is available if the row is unknown, absent, or does not take `dtype` (f64: reference only).
const KernelTable& kernel_table(std::string_view wanted, DType dtype);

/// The names of the rows that run here, comma-separated: for messages and `info`.
std::string available_backends();

}  // namespace annulus::kernels
