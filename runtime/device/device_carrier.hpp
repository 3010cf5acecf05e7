/// What travels lies on a device from the first step to the last.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/device/carrier.hpp"
#include "runtime/device/mover.hpp"

namespace annulus {

/// Kernels read the blocks (Line::kernels), sums are added to along the line on which they leave. `device` outlives them.
Carriers device_carriers(kernels::cuda::Device& device, std::shared_ptr<Mover> mover);

}  // namespace annulus
