/// What tells one machine from another.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace annulus::launch {

/// Of the first processor, as the system names it; the architecture's name where it does not. Local.
std::string processor_name();

/// Of this node, whatever share of them the launcher gives to a rank. Local.
int node_cores();

}  // namespace annulus::launch
