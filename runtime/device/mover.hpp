/// How bytes move between the devices of two ranks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>

#include "kernels/contract/row_array.hpp"
#include "kernels/cuda/device.hpp"
#include "runtime/comm/communicator.hpp"
#include "runtime/comm/journey.hpp"

namespace annulus {

/// The lines that one kind of traveller moves along.
struct Lane {
  kernels::cuda::Line in;
  kernels::cuda::Line out;
  kernels::cuda::Line readers;  ///< of what has arrived
};

/// Bytes are read after all that lane.out was told before, and written after all that lane.in was told before; what is told
/// to lane.in once a journey is over sees them. Calls are made in the same order by all ranks. All is local.
class Mover {
 public:
  using Runs = std::span<const kernels::ByteRun>;

  virtual ~Mover() = default;
  virtual Journey send(const Lane& lane, const std::byte* array, Runs runs, int to, int tag) = 0;
  virtual Journey receive(const Lane& lane, std::byte* array, Runs runs, int from, int tag) = 0;
  /// Between them, journeys of one lane start together: no rank waits for one to begin another.
  virtual void begin_group() {}
  virtual void end_group(const Lane&) {}
};

}  // namespace annulus
