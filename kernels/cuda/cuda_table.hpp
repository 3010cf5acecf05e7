/// The backend `cuda`, or the row that says why this build has none.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/contract/attention.hpp"

namespace annulus::kernels {

const KernelTable& cuda_table();

}  // namespace annulus::kernels
