/// Plans and the sizes that follow from them.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/attention_plan.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/base/checked.hpp"
#include "runtime/engine/call_check.hpp"

namespace annulus {
namespace {

AttentionSpec checked(AttentionSpec spec) {
  check_spec(spec);
  return spec;
}

/// Of the owner whose block takes most.
std::int64_t spans_per_query(const Mask& mask, const Layout& k_layout) {
  std::int64_t most = 1;
  for (int owner = 0; owner < k_layout.ranks(); ++owner) {
    most = std::max(most, BlockRows(mask, k_layout, owner).spans_per_query());
  }
  return most;
}

}  // namespace

AttentionPlan::AttentionPlan(AttentionSpec spec, LayoutSpec layout, RingSchedule ring)
    : spec_(checked(std::move(spec))),
      q_layout_(layout.kind, spec_.seq_q, ring.size, layout.stripe),
      k_layout_(layout.kind, spec_.seq_k, ring.size, layout.stripe),
      mask_(spec_.mask, spec_.seq_q, spec_.seq_k),
      ring_(ring) {
  if (spec_.alibi_slopes.empty()) return;
  query_positions_ = q_layout_.positions(ring_.rank);
  for (std::int64_t& position : query_positions_) position = mask_.key_position(position);
}

kernels::Problem AttentionPlan::problem(std::span<const float> sink) const {
  return {.batch = spec_.batch,
          .q_rows = q_rows(),
          .heads = spec_.heads,
          .kv_heads = spec_.kv_heads,
          .head_dim = spec_.head_dim,
          .dtype = spec_.dtype,
          .softmax_scale = spec_.softmax_scale.value_or(1 / std::sqrt(static_cast<double>(spec_.head_dim))),
          .softcap = spec_.softcap,
          .alibi_slopes = spec_.alibi_slopes,
          .sink = sink,
          .query_positions = query_positions_};
}

kernels::BlockShape AttentionPlan::block_shape(int owner) const {
  return {.batch = spec_.batch,
          .rows = k_layout_.rows(owner),
          .kv_heads = spec_.kv_heads,
          .head_dim = spec_.head_dim,
          .dtype = spec_.dtype};
}

std::vector<std::int64_t> AttentionPlan::key_positions(int owner) const {
  return spec_.alibi_slopes.empty() ? std::vector<std::int64_t>{} : k_layout_.positions(owner);
}

PassSizes AttentionPlan::sizes(const kernels::KernelTable& table, kernels::Direction direction) const {
  PassSizes sizes;
  sizes.gradient_dtype = kernels::gradient_dtype(spec_.dtype);
  for (int owner = 0; owner < ring_.size; ++owner) {
    const kernels::BlockShape shape = block_shape(owner);
    sizes.block_bytes.push_back(table.packed_bytes(shape, direction));
    if (direction == kernels::Direction::backward) sizes.gradient_elements.push_back(table.gradient_elements(shape));
  }
  return sizes;
}

double attention_flops(const AttentionSpec& spec, kernels::Direction direction) {
  const Mask mask(spec.mask, spec.seq_q, spec.seq_k);
  const double per_pair = direction == kernels::Direction::forward ? 4 : 10;
  return per_pair * static_cast<double>(spec.batch) * static_cast<double>(spec.heads) *
         static_cast<double>(spec.head_dim) * static_cast<double>(mask.visible_pairs());
}

std::uint64_t attention_bytes(const AttentionSpec& spec, LayoutSpec layout, int ranks, const kernels::KernelTable& table,
                              ExchangeKind exchange, kernels::Direction direction) {
  AttentionSpec lean = spec;
  lean.alibi_slopes.clear();  // their position lists are counted below, not made
  const AttentionPlan plan(lean, layout, {0, ranks});
  kernels::BlockShape block = plan.block_shape(0);
  kernels::Problem problem = plan.problem({});
  block.rows = plan.k_layout().max_rows();
  problem.q_rows = plan.q_layout().max_rows();
  const bool shared = exchange == ExchangeKind::shared;
  const bool backward = direction == kernels::Direction::backward;
  const std::uint64_t blocks = shared || ranks == 1 ? 1 : 2;
  const std::uint64_t gradients = !backward ? 0 : ranks == 1 ? 1 : shared ? 2 : 3;
  const std::uint64_t gradient_bytes =
      checked_product({table.gradient_elements(block), static_cast<std::int64_t>(size_of(kernels::gradient_dtype(spec.dtype)))});
  const std::uint64_t masks = checked_product({problem.q_rows, spans_per_query(plan.mask(), plan.k_layout()),
                                               static_cast<std::int64_t>(sizeof(kernels::RowSpan))});
  const std::uint64_t positions = spec.alibi_slopes.empty() ? 0 : checked_product({problem.q_rows + block.rows, 8});
  return blocks * table.packed_bytes(block, direction) + gradients * gradient_bytes + masks + positions +
         table.pass_bytes(problem, direction);
}

}  // namespace annulus
