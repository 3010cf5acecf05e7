/// Plans and the sizes that follow from them.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/attention_plan.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/base/checked.hpp"
#include "runtime/engine/call_check.hpp"
#include "runtime/engine/global_rows.hpp"
#include "runtime/engine/halo_attention.hpp"

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

/// The rows of one owner that follow each other are one piece, and none goes on behind a stripe.
std::int64_t pieces_by_owner(const Layout& layout, const RowSet& rows) {
  std::int64_t pieces = 0;
  for (const Piece& piece : rows.pieces()) pieces += layout.deal(piece.pos + piece.rows - 1) - layout.deal(piece.pos) + 1;
  return pieces;
}

}  // namespace

AttentionPlan::AttentionPlan(AttentionSpec spec, LayoutSpec layout, RingSchedule ring)
    : spec_(checked(std::move(spec))),
      q_layout_(layout.kind, spec_.seq_q, ring.size, layout.stripe),
      k_layout_(layout.kind, spec_.seq_k, ring.size, layout.stripe),
      mask_(spec_.mask, spec_.seq_q, spec_.seq_k),
      ring_(ring),
      queries_(q_layout_.row_set(ring_.rank)),
      query_positions_(annulus::query_positions(spec_, mask_, queries_)) {
  if (spec_.mask.is_local() || !spec_.mask.cu_seqlens.empty()) plan_direct();
}

kernels::Problem AttentionPlan::problem(std::span<const float> sink) const {
  return make_problem(spec_, q_rows(), query_positions_, sink);
}

RowSet AttentionPlan::needed(int rank, const RowSet& travelling) const {
  return needed_rows(mask_, without(q_layout_.row_set(rank), travelling));
}

DirectRows AttentionPlan::count_direct(const RowSet& travelling) const {
  const std::int64_t senders = std::min<std::int64_t>(ring_.size - 1, HaloExchange::most_receives);
  DirectRows rows;
  for (int rank = 0; rank < ring_.size; ++rank) {
    const RowSet keys = k_layout_.row_set(rank);
    const RowSet own = intersect(q_layout_.row_set(rank), travelling);
    const RowSet arriving = without(needed(rank, travelling), keys);
    const std::int64_t visiting = without(visitors(mask_, travelling, keys), own).rows();
    rows.keys += arriving.rows();
    rows.most_pieces = std::max(rows.most_pieces, pieces_by_owner(k_layout_, arriving));
    rows.queries += visiting;
    rows.most_queries = std::max(rows.most_queries, own.rows() + visiting);
    rows.most_returning = std::max(rows.most_returning, own.rows() * senders);
  }
  return rows;
}

/// No more visiting queries than a shard has: they all come at once. Keys come in rounds, which are that small anyway, but not so
/// the lists of them: of single rows, as windows see in short stripes, they could outgrow q, k, v and out of the shard.
bool AttentionPlan::fits(const DirectRows& rows) const {
  constexpr double lists_of_piece = 6;  // of arriving and leaving rows: the halo, by peer, and by peer and round
  const auto real = [](auto count) { return static_cast<double>(count); };  // products beyond 64 bits stay comparable
  const double item = real(size_of(spec_.dtype));
  const double per_channel = real(q_layout_.max_rows()) * real(spec_.heads) * (item + sizeof(float)) +
                             real(k_layout_.max_rows()) * real(spec_.kv_heads) * 2 * item;
  const double shard_bytes = real(spec_.batch) * real(spec_.head_dim) * per_channel;
  return rows.most_queries <= q_layout_.max_rows() &&
         lists_of_piece * sizeof(Piece) * real(rows.most_pieces) <= shard_bytes;
}

/// Fewer bytes in both directions.
bool AttentionPlan::is_less(const DirectRows& a, const DirectRows& b) const {
  const auto bytes = [this](const DirectRows& rows, kernels::Direction direction) {
    const TripBytes key = HaloAttention::trip_bytes(spec_, direction);
    const TripBytes query = GlobalRows::trip_bytes(spec_, direction);
    return static_cast<double>(rows.keys) * static_cast<double>(key.there + key.back) +
           static_cast<double>(rows.queries) * static_cast<double>(query.there + query.back);
  };
  return bytes(a, kernels::Direction::forward) < bytes(b, kernels::Direction::forward) &&
         bytes(a, kernels::Direction::backward) < bytes(b, kernels::Direction::backward);
}

/// The cheapest of three: blocks go around, keys come to all queries, or keys to most and global queries to the keys. To be
/// chosen over the ring, which hides more of its traffic and needs no lists of rows, rows must save a sixteenth of it: the
/// last rows of a causal mask alone, as where a window is wider than a round of stripes, do not.
void AttentionPlan::plan_direct() {
  const std::int64_t whole = (ring_.size - 1) * spec_.seq_k;
  DirectRows least{.keys = whole - whole / 16};
  std::optional<RowSet> chosen;
  std::vector<RowSet> choices{RowSet()};
  if (RowSet global = global_queries(mask_); !global.empty()) choices.push_back(std::move(global));
  for (RowSet& travelling : choices) {
    const DirectRows rows = count_direct(travelling);
    if (!fits(rows) || !is_less(rows, least)) continue;
    least = rows;
    chosen = std::move(travelling);
  }
  if (!chosen) return;
  const auto needs = [&](int rank) { return needed(rank, *chosen); };
  direct_ = std::move(least);
  direct_.rounds = halo_rounds(k_layout_, needs, k_layout_.max_rows());
  halo_ = halo_plan(k_layout_, ring_.rank, needs);
  rounds_ = plans_of_rounds(*halo_, ring_.rank, ring_.size, direct_.rounds);
  global_ = global_plan(mask_, q_layout_, k_layout_, ring_.rank, *chosen);
}

std::uint64_t AttentionPlan::list_bytes() const {
  std::uint64_t bytes = queries_.list_bytes() + global_.visits.list_bytes() + global_.at_home.list_bytes();
  if (halo_) bytes += halo_->list_bytes();
  for (const HaloPlan& round : rounds_) bytes += round.list_bytes();
  return bytes;
}

kernels::BlockShape AttentionPlan::block_of(std::int64_t rows) const {
  return {.batch = spec_.batch,
          .rows = rows,
          .kv_heads = spec_.kv_heads,
          .head_dim = spec_.head_dim,
          .dtype = spec_.dtype};
}

std::vector<std::int64_t> AttentionPlan::key_positions(int owner) const {
  return spec_.alibi_slopes.empty() ? std::vector<std::int64_t>{} : k_layout_.positions(owner);
}

int home_parts(const kernels::KernelTable& table, const kernels::BlockShape& largest, int threads) {
  constexpr int most = 8;
  constexpr std::int64_t tasks_of_thread = 8;
  if (table.device_bytes != nullptr) return 1;
  if (threads == 1) return most;
  const std::int64_t tiles = ceil_div(largest.rows, table.key_tile(largest.head_dim));
  const std::uint64_t tasks = checked_product({largest.batch, largest.kv_heads, tiles});
  return static_cast<int>(std::clamp<std::uint64_t>(tasks / static_cast<std::uint64_t>(tasks_of_thread * threads), 1, most));
}

PassSizes AttentionPlan::sizes(const kernels::KernelTable& table, kernels::Direction direction, const RingSchedule& ring,
                               int most_threads) const {
  const kernels::BlockShape own = block_shape(ring.rank);
  PassSizes sizes{.rows = own.rows, .block = table.packed_rows(own, direction)};
  sizes.travel = travel_plan(ring, mask_, q_layout_, k_layout_, sizes.block.granule);
  sizes.gradient_dtype = kernels::gradient_dtype(spec_.dtype);
  sizes.key_tile = table.key_tile(spec_.head_dim);
  if (direction == kernels::Direction::forward) return sizes;
  sizes.gradient = table.gradient_rows(own);
  kernels::BlockShape largest = own;
  largest.rows = k_layout_.max_rows();
  sizes.home_parts = home_parts(table, largest, most_threads);
  return sizes;
}

kernels::Problem make_problem(const AttentionSpec& spec, std::int64_t q_rows,
                              std::span<const std::int64_t> query_positions, std::span<const float> sink) {
  return {.batch = spec.batch,
          .q_rows = q_rows,
          .heads = spec.heads,
          .kv_heads = spec.kv_heads,
          .head_dim = spec.head_dim,
          .dtype = spec.dtype,
          .softmax_scale = spec.softmax_scale.value_or(1 / std::sqrt(static_cast<double>(spec.head_dim))),
          .softcap = spec.softcap,
          .alibi_slopes = spec.alibi_slopes,
          .sink = sink,
          .query_positions = query_positions};
}

std::vector<std::int64_t> query_positions(const AttentionSpec& spec, const Mask& mask, const RowSet& queries) {
  if (spec.alibi_slopes.empty()) return {};
  std::vector<std::int64_t> positions = queries.positions();
  for (std::int64_t& position : positions) position = mask.key_position(position);
  return positions;
}

double call_flops(const AttentionSpec& spec, kernels::Direction direction, std::int64_t pairs) {
  const double per_pair = direction == kernels::Direction::forward ? 4 : 10;
  return per_pair * static_cast<double>(spec.batch) * static_cast<double>(spec.heads) *
         static_cast<double>(spec.head_dim) * static_cast<double>(pairs);
}

double attention_flops(const AttentionSpec& spec, kernels::Direction direction) {
  return call_flops(spec, direction, Mask(spec.mask, spec.seq_q, spec.seq_k).visible_pairs());
}

namespace {

/// Slots of blocks and of sums, and in backward a share and the rows that come home before the others.
std::uint64_t ring_bytes(const AttentionPlan& plan, const kernels::KernelTable& table, const kernels::BlockShape& block,
                         ExchangeKind exchange, kernels::Direction direction) {
  const bool one_group = exchange == ExchangeKind::shared || plan.ring().size == 1;
  const std::int64_t slots = one_group ? 1 : 2;
  const kernels::RowArray packed = table.packed_rows(block, direction);
  if (exchange == ExchangeKind::device) {  // what the host sees of the own block and of its sum
    const bool forward = direction == kernels::Direction::forward;
    return checked_sum({packed.bytes(block.rows), forward ? 0 : table.gradient_rows(block).bytes(block.rows)});
  }
  const std::uint64_t blocks = checked_product({slots, static_cast<std::int64_t>(packed.bytes(block.rows))});
  if (direction == kernels::Direction::forward) return blocks;
  const kernels::RowArray gradient = table.gradient_rows(block);
  const std::int64_t sums = slots + (plan.ring().size == 1 ? 0 : 1);
  const std::int64_t left =
      one_group ? 0 : most_rows_left_behind(plan.mask(), plan.q_layout(), plan.k_layout(), packed.granule);
  return checked_sum({blocks, checked_product({sums, static_cast<std::int64_t>(gradient.bytes(block.rows))}),
                      gradient.bytes(left)});
}

}  // namespace

std::uint64_t attention_bytes(const AttentionSpec& spec, LayoutSpec layout, int ranks, const kernels::KernelTable& table,
                              ExchangeKind exchange, kernels::Direction direction) {
  AttentionSpec lean = spec;
  lean.alibi_slopes.clear();  // their position lists are counted below, not made
  const AttentionPlan plan(lean, layout, {0, ranks});
  kernels::BlockShape block = plan.block_shape(0);
  kernels::Problem problem = plan.problem({});
  block.rows = plan.k_layout().max_rows();
  problem.q_rows = plan.q_layout().max_rows();
  const std::uint64_t masks = checked_product(
      {problem.q_rows, spans_per_query(plan.mask(), plan.k_layout()), static_cast<std::int64_t>(sizeof(kernels::RowSpan))});
  const std::uint64_t positions = spec.alibi_slopes.empty() ? 0 : checked_product({problem.q_rows + block.rows, 8});
  const std::uint64_t fixed = masks + positions + plan.list_bytes() + table.pass_bytes(problem, direction);
  if (plan.halo()) {
    return fixed + HaloAttention::bytes(spec, table, block.rows, plan.direct(), direction);
  }
  return checked_sum({fixed, ring_bytes(plan, table, block, exchange, direction)});
}

std::uint64_t slot_bytes(const AttentionPlan& plan, const kernels::KernelTable& table) {
  const kernels::BlockShape block = plan.block_of(plan.k_layout().max_rows());
  const std::uint64_t packed = std::max(table.packed_bytes(block, kernels::Direction::forward),
                                        table.packed_bytes(block, kernels::Direction::backward));
  return checked_sum({packed, table.gradient_rows(block).bytes(block.rows)});
}

std::uint64_t device_bytes(const AttentionSpec& spec, LayoutSpec layout, int ranks, const kernels::KernelTable& table,
                           ExchangeKind exchange) {
  if (table.device_bytes == nullptr) return 0;
  const AttentionPlan plan(spec, layout, {0, ranks});
  kernels::BlockShape block = plan.block_shape(0);
  kernels::Problem problem = plan.problem({});
  block.rows = plan.k_layout().max_rows();
  problem.q_rows = plan.q_layout().max_rows();
  const std::uint64_t pass = table.device_bytes(problem, block);  // of it two blocks, which the exchange may have, and a share
  if (exchange != ExchangeKind::device || ranks == 1) return pass;
  const kernels::RowArray gradient = table.gradient_rows(block);
  const std::int64_t left = most_rows_left_behind(
      plan.mask(), plan.q_layout(), plan.k_layout(), table.packed_rows(block, kernels::Direction::backward).granule);
  return checked_sum(
      {pass, checked_product({2, static_cast<std::int64_t>(gradient.bytes(block.rows))}), gradient.bytes(left)});
}

}  // namespace annulus
