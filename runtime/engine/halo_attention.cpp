/// Own block first, halo block second: one fixed order of additions.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/halo_attention.hpp"

#include <algorithm>

#include "kernels/base/checked.hpp"
#include "runtime/engine/row_copy.hpp"

namespace annulus {

using kernels::Direction;

namespace {

std::uint64_t row_bytes(const AttentionSpec& spec, DType dtype) {
  return checked_product({spec.batch, spec.kv_heads, spec.head_dim, static_cast<std::int64_t>(size_of(dtype))});
}

std::uint64_t most(const TripBytes& trip) { return std::max(trip.there, trip.back); }

std::vector<ConstTensorView> constant(const std::vector<TensorView>& views) { return {views.begin(), views.end()}; }

}  // namespace

HaloAttention::HaloAttention(const Communicator& comm, const AttentionPlan& plan, const kernels::KernelTable& table,
                             kernels::Resources resources)
    : plan_(plan),
      halo_(*plan.halo()),
      means_{table, plan.spec(), plan.mask(), resources},
      global_(plan, table, resources),
      exchange_(comm, {&halo_, &plan.global().visits}) {}

HaloAttention::KeyRows HaloAttention::make(DType dtype, std::int64_t rows) const {
  const AttentionSpec& spec = plan_.spec();
  const std::uint64_t bytes = checked_product({rows, static_cast<std::int64_t>(row_bytes(spec, dtype))});
  KeyRows made{Buffer<std::byte>(static_cast<std::int64_t>(2 * bytes), means_.resources.memory), {}};
  for (std::size_t i = 0; i < 2; ++i) {
    made.views[i] = dense_view(made.memory.data() + i * bytes, dtype, spec.batch, rows, spec.kv_heads, spec.head_dim);
  }
  return made;
}

void HaloAttention::reserve(Direction direction) {
  const AttentionSpec& spec = plan_.spec();
  for (KeyRows* of_last_call : {&arrived_, &own_sums_, &halo_sums_}) *of_last_call = {};
  own_keys_.reset();
  halo_keys_.reset();
  own_keys_.emplace(means_, halo_.own, direction, passes_over_own_keys());
  halo_keys_.emplace(means_, halo_.halo, direction);
  arrived_ = make(spec.dtype, halo_.halo.rows());
  global_.reserve(direction);
  exchange_.reserve(std::array{most(trip_bytes(spec, direction)), most(GlobalRows::trip_bytes(spec, direction))});
  if (direction == Direction::forward) return;
  own_sums_ = make(kernels::gradient_dtype(spec.dtype), halo_.own.rows());
  halo_sums_ = make(kernels::gradient_dtype(spec.dtype), halo_.halo.rows());
}

template <class Call>
void HaloAttention::fetch(const Call& call) {
  global_.collect(call);
  const std::array<ConstTensorView, 2> keys{call.k, call.v};
  exchange_.start(HaloExchange::Way::fetch, {{keys, halo_.own}, {constant(global_.travelling()), global_.rows()}});
  own_keys_->pack(call.k, call.v);
}

void HaloAttention::land() {
  exchange_.finish({{arrived_.views, halo_.halo}, {global_.travelling(), global_.rows()}});
  halo_keys_->pack(arrived_.views[0], arrived_.views[1]);
}

std::int64_t HaloAttention::forward(const ForwardCall& call, kernels::ForwardPass& pass) {
  const Progress poll = [this] { exchange_.poll(); };
  fetch(call);
  std::int64_t pairs = own_keys_->forward(at_home(), pass, poll);
  land();
  pairs += global_.attend(*own_keys_);
  exchange_.start(HaloExchange::Way::home, {{{}, halo_.halo}, {constant(global_.returning()), global_.rows()}});
  pairs += halo_keys_->forward(at_home(), pass, poll);
  exchange_.finish({{{}, halo_.own}, {global_.returning(), global_.rows(), global_.meet_home()}});
  pass.finish(call.out, call.lse);
  global_.settle(call);
  return pairs;
}

std::int64_t HaloAttention::backward(const BackwardCall& call, kernels::BackwardPass& pass, std::span<double> dsink) {
  const Progress poll = [this] { exchange_.poll(); };
  fetch(call);
  std::int64_t pairs = own_keys_->backward(at_home(), pass, poll);
  land();
  pairs += global_.attend(*own_keys_);
  pairs += halo_keys_->backward(at_home(), pass, poll);
  own_keys_->unpack_gradient(own_sums_.views[0], own_sums_.views[1]);
  halo_keys_->unpack_gradient(halo_sums_.views[0], halo_sums_.views[1]);
  const std::array<ConstTensorView, 2> leaving{halo_sums_.views[0], halo_sums_.views[1]};
  exchange_.start(HaloExchange::Way::home, {{leaving, halo_.halo}, {constant(global_.returning()), global_.rows()}});
  exchange_.finish({{own_sums_.views, halo_.own}, {global_.returning(), global_.rows(), global_.meet_home()}});
  convert(own_sums_.views[0], call.dk);
  convert(own_sums_.views[1], call.dv);
  pass.finish(call.dq, dsink);
  global_.settle(call);
  return pairs;
}

TripBytes HaloAttention::trip_bytes(const AttentionSpec& spec, Direction direction) {
  const bool backward = direction == Direction::backward;
  return {2 * row_bytes(spec, spec.dtype), backward ? 2 * row_bytes(spec, kernels::gradient_dtype(spec.dtype)) : 0};
}

std::uint64_t HaloAttention::bytes(const AttentionSpec& spec, const kernels::KernelTable& table, std::int64_t own_rows,
                                   const DirectRows& rows, Direction direction) {
  const TripBytes key = trip_bytes(spec, direction);
  const TripBytes query = GlobalRows::trip_bytes(spec, direction);
  const auto take = [](std::int64_t count, std::uint64_t bytes) {
    return checked_product({count, static_cast<std::int64_t>(bytes)});
  };
  const std::uint64_t held = HeldKeys::bytes(table, spec, own_rows, direction, rows.most_queries > 0 ? 2 : 1) +
                             HeldKeys::bytes(table, spec, rows.most_keys, direction) + take(own_rows, key.back) +
                             take(rows.most_keys, key.there + key.back) +
                             GlobalRows::bytes(spec, table, rows.most_queries, direction);
  // Staged to send and to receive: as much each way where neighbours are alike; owners of global tokens hear from all.
  return held + 2 * take(rows.most_keys, most(key)) + 2 * take(rows.most_queries, most(query)) +
         take(rows.most_returning, query.back);
}

}  // namespace annulus
