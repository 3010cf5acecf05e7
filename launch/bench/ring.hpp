/// How much of P ranks' speed the ring keeps, against one rank on the same sequence.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "launch/report.hpp"
#include "launch/samples.hpp"

namespace annulus::launch {

struct RingShape {
  DType dtype = DType::f32;
  std::int64_t rows_per_rank = 0;
  std::int64_t heads = 1;
  std::int64_t head_dim = 64;
  kernels::Direction direction = kernels::Direction::forward;
};

/// The causal mask over a zigzag layout: what the ring is balanced for. By the wall clock of the slowest rank.
struct RingRate {
  RingShape shape;
  int ranks = 1;
  int threads = 1;  ///< of a rank
  bool own_cores = true;  ///< every thread of every rank has a core
  std::string exchange;
  Samples efficiency;        ///< seconds of one rank / (ranks * seconds of the ring)
  Samples exposed_fraction;  ///< of the ring's seconds, waiting for blocks
};

/// Bytes that measure_ring allocates on the rank that needs most: rank 0 also runs the whole sequence alone.
std::uint64_t ring_bench_bytes(const RingShape& shape, const Execution& execution, int ranks);

/// Collective. Each sample is one call on rank 0 alone (the others wait), then one call of all ranks.
RingRate measure_ring(const Communicator& world, const RingShape& shape, const Execution& execution,
                      std::int64_t samples);

std::string ring_table(const std::vector<RingRate>& rates);
Json rings_to_json(const std::vector<RingRate>& rates);

}  // namespace annulus::launch
