/// What travels lies in host memory, and goes by messages.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/comm/communicator.hpp"
#include "runtime/device/carrier.hpp"

namespace annulus {

/// `comm` outlives them.
Carriers host_carriers(const Communicator& comm);

}  // namespace annulus
