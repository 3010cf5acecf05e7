/// Stands in for NCCL in a build without it: callers need no #ifdef.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/device/nccl_mover.hpp"

namespace annulus {

std::string nccl_absence() { return "not built (this build has no NCCL)"; }
std::string nccl_version() { return {}; }
std::unique_ptr<Mover> nccl_mover(kernels::cuda::Device&, const Communicator&) {
  throw UsageError("NCCL is " + nccl_absence() + "; try a build with -D ANNULUS_ENABLE_NCCL=ON");
}

}  // namespace annulus
