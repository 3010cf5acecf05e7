/// Measures a machine for forecasts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/comm/communicator.hpp"
#include "runtime/forecast/machine.hpp"

namespace annulus::launch {

struct CalibrateRequest {
  std::string name;              ///< empty: the host's
  std::string backend = "auto";
  std::string folder;            ///< whose file system is measured, too; empty: none
  int samples = 7;               ///< behind each figure
  std::vector<DType> dtypes{DType::f32, DType::bf16, DType::f16};
  std::vector<std::int64_t> head_dims{64, 128};
};

/// Collective. Seconds to half a minute. Throws on all ranks together.
forecast::Machine calibrate_machine(const Communicator& world, const CalibrateRequest& request);

}  // namespace annulus::launch
