/// What `annulus info` and `calibrate` say of the BLAS behind projections.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace annulus::launch {

/// Which kernels it runs, and how to get quicker ones where it does not know a CPU with AVX2. Local.
std::string blas_text();

}  // namespace annulus::launch
