/// Recomputes sampled rows of a layer in f64 and compares what the runtime produced.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/base/workers.hpp"
#include "runtime/comm/communicator.hpp"
#include "runtime/layout/layout.hpp"
#include "runtime/stack/comparison.hpp"
#include "runtime/stack/merged_parts.hpp"
#include "runtime/stack/samples.hpp"
#include "runtime/stack/stack.hpp"

namespace annulus::stack {

/// Follows each sampled row through its layer, every stage from what the runtime stored before it:
///   q, k, v   from the row's x_in
///   out, lse  from the stored q row and all ranks' k and v: each rank attends to its own keys, the parts are merged
///   x         from the stored x_in and out
/// Errors are relative to the largest element of the stage among the samples; those of out to the largest sum of p|v|,
/// since cancellation among many keys is no error. Tolerances: see Comparison::verdict.
class Verifier {
 public:
  /// `comm`, `model`, `layout` and `workers` outlive this; `rows` and `seed` as for sample_rows.
  Verifier(const Communicator& comm, const ModelSpec& model, const Layout& layout, Workers& workers, std::int64_t rows,
           std::uint64_t seed);
  Verifier(const Verifier&) = delete;
  Verifier& operator=(const Verifier&) = delete;

  const std::vector<Sample>& samples() const { return samples_; }

  /// Collective. Throws Error(ExitCode::verification) on every rank.
  LayerErrors check(const LayerView& layer) const;

  /// Bytes that check() takes on a rank with `shard_rows`: a score per key and worker, and per sample what a row is
  /// made of. Checked.
  static std::uint64_t bytes(const ModelSpec& model, std::int64_t shard_rows, std::int64_t samples, int workers);

 private:
  /// Calls body(sample, its row among the layer's [batch * rows]) for every sample of this rank, shared by the workers.
  template <class Body>
  void for_each_own(const LayerView& layer, Body&& body) const;
  void check_projections(const LayerView& layer, Comparison& comparison) const;
  void check_attention(const LayerView& layer, Comparison& comparison) const;
  void compare_attention(const LayerView& layer, const MergedParts& merged, Comparison& comparison) const;
  void check_residual(const LayerView& layer, Comparison& comparison) const;
  std::vector<double> gather_queries(const LayerView& layer) const;
  std::vector<kernels::RowSpan> visible_rows(const LayerView& layer, const Sample& sample) const;

  const Communicator& comm_;
  const ModelSpec& model_;
  const Layout& layout_;
  Workers& workers_;
  LayerVariants variants_;
  std::vector<Mask> masks_;  ///< by variant
  RowSet own_rows_;
  std::vector<BlockRows> keys_;  ///< of this rank's shard, by variant
  std::vector<Sample> samples_;
  std::vector<std::size_t> own_;  ///< samples whose row this rank keeps
};

}  // namespace annulus::stack
