/// What `annulus info` says of GPUs.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "runtime/comm/communicator.hpp"

namespace annulus::launch {

/// Collective. One row per GPU that a rank would use, with the ranks that share it; complete on rank 0. One line where no
/// rank sees a GPU.
std::string gpu_report(const Communicator& world);

/// Collective. How blocks would move between the GPUs of all ranks; complete on every rank.
std::string mover_text(const Communicator& world);

/// NCCL's version, or why there is none.
std::string nccl_text();

/// "yes", "no", or that it cannot say.
std::string cuda_aware_text();

}  // namespace annulus::launch
