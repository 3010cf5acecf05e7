/// The backend `reference`: plain loops, sums in double; every other backend is tested against the same oracle.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/contract/attention.hpp"

namespace annulus::kernels {

const KernelTable& reference_table();

}  // namespace annulus::kernels
