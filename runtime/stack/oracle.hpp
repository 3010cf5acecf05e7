/// A layer's rows recomputed in f64 by plain loops: what verification compares with. Shares no code with the fast path
/// but the weights and the angles.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "runtime/engine/ring_attention.hpp"
#include "runtime/stack/model.hpp"

namespace annulus::stack {

/// One row of q, k and v after rotation.
struct QkvRow {
  std::vector<double> q;
  std::vector<double> k;
  std::vector<double> v;
};
/// x [width] of the token at `pos`, rotated as `spec` says. Local.
QkvRow project_row(const LayerSpec& spec, const LayerWeights& weights, std::span<const double> x, std::int64_t pos);

/// kept x + added Wo out. Local.
std::vector<double> residual_row(const ModelSpec& model, const LayerWeights& weights, std::span<const double> x,
                                 std::span<const double> out);

/// What one rank's keys add to the attention of one query row and head; sums are relative to exp(max).
struct AttentionPart {
  double max = 0;  ///< -infinity without keys and sink
  double sum = 0;
  std::vector<double> weighted;  ///< [head_dim] sum_j p_j v_j
};
struct AttentionParts {
  AttentionPart exact;
  AttentionPart plain;            ///< with s and p rounded to the dtype of the model, as a plain 16-bit attention does
  std::vector<double> magnitude;  ///< [head_dim] sum_j p_j |v_j|, relative to exp(exact.max)
  std::vector<double> squares;    ///< [head_dim] sum_j (p_j v_j)^2, relative to exp(2 exact.max)
  double largest_score = 0;       ///< max_j |s_j|
};

/// Keys and values of one (batch, kv head) on one rank: element (row, channel) at row * stride + channel.
struct KeyRows {
  const std::byte* k;
  const std::byte* v;
  std::int64_t stride;
  std::span<const kernels::RowSpan> visible;  ///< rows, as VisibleRows::of_row gives them
};
inline constexpr double no_sink = -std::numeric_limits<double>::infinity();
/// `scores` is scratch of at least as many elements as rows are visible. `sink` is the logit of the head's learned sink
/// on one rank, no_sink on the others: it counts once. Local.
AttentionParts attend_part(const AttentionSpec& spec, std::span<const double> q, const KeyRows& keys, double sink,
                           std::span<double> scores);

/// Rounds through the storage type.
double round_to(DType dtype, double x);

}  // namespace annulus::stack
