/// One attention problem run on the ring: every rank makes its own rows and judges its own results.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/engine/ring_attention.hpp"

namespace annulus::test {

struct RingCase {
  AttentionSpec spec;
  LayoutSpec layout{};
  Execution execution{};
  std::uint64_t seed = 1;
  bool backward = true;
  std::optional<DType> out_dtype{};  ///< default: that of q, k and v
  /// The probe: K + 1 and V + 1000 (so large that any leak shows) at this key position.
  std::optional<std::int64_t> changed_key{};
  /// dout + 1 at this query position.
  std::optional<std::int64_t> changed_dout{};

  std::string describe() const;
};

/// This rank's rows, dense in f32: [batch, row, head, head_dim], lse [batch, head, row].
struct RingResult {
  std::vector<float> out, lse, dq, dk, dv, dsink;
  CallReport forward, backward;
};

/// Of MPI_COMM_WORLD.
int world_rank();
int world_size();

/// True if both hold the same bits.
bool same_bits(const RingResult& a, const RingResult& b);

/// Collective over `comm`: forward and (if asked) backward.
RingResult run_ring(MPI_Comm comm, const RingCase& test);

/// Worst error of this rank's rows against the f64 oracle, each output relative to its largest element in the whole
/// sequence, as a share of what the tolerance allows: at most 1 passes.
struct RingError {
  double share = 0;
  double error = 0;
  std::string where;
};
RingError judge(const RingCase& test, int rank, int ranks, const RingResult& result);

/// Sink logits of a case: a function of the head.
std::vector<float> sink_values(const AttentionSpec& spec);

}  // namespace annulus::test
