/// The addition of gradients that all ways home share.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/base/dtype.hpp"

namespace annulus {

/// to[i] += from[i] for `elements` of type f32 or f64.
void add_gradients(DType dtype, std::byte* to, const std::byte* from, std::int64_t elements);

}  // namespace annulus
