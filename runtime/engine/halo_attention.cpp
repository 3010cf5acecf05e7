/// Own block first, then the halo round by round: one fixed order of additions.
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

std::uint64_t take(std::int64_t rows, std::uint64_t bytes) {
  return checked_product({rows, static_cast<std::int64_t>(bytes)});
}

std::vector<ConstTensorView> constant(const std::vector<TensorView>& views) { return {views.begin(), views.end()}; }

}  // namespace

HaloAttention::HaloAttention(const Communicator& comm, const AttentionPlan& plan, const kernels::KernelTable& table,
                             kernels::Resources resources, Timeline* timeline)
    : timeline_(timeline),
      plan_(plan),
      means_{table, plan.spec(), plan.mask(), resources},
      global_(plan, table, resources),
      fetching_(comm, {&plan.rounds().front(), &plan.global().visits}),
      homing_(comm, {&plan.rounds().front(), &plan.global().visits}) {}

std::int64_t HaloAttention::most_halo_rows() const {
  std::int64_t most_rows = 0;
  for (const HaloPlan& round : plan_.rounds()) most_rows = std::max(most_rows, round.halo.rows());
  return most_rows;
}

Buffer<std::byte> HaloAttention::make(std::uint64_t row_bytes, std::int64_t rows) const {
  return Buffer<std::byte>(static_cast<std::int64_t>(take(rows, row_bytes)), means_.resources.memory);
}

TensorView HaloAttention::view(std::byte* memory, DType dtype, std::int64_t rows) const {
  const AttentionSpec& spec = plan_.spec();
  return dense_view(memory, dtype, spec.batch, rows, spec.kv_heads, spec.head_dim);
}

std::array<TensorView, 2> HaloAttention::views(const Buffer<std::byte>& memory, DType dtype, std::int64_t rows) const {
  return {view(memory.data(), dtype, rows), view(memory.data() + take(rows, row_bytes(plan_.spec(), dtype)), dtype, rows)};
}

std::array<TensorView, 2> HaloAttention::own_sums() const {
  return views(own_sums_, kernels::gradient_dtype(plan_.spec().dtype), plan_.k_rows());
}

std::array<TensorView, 2> HaloAttention::leaving(std::int64_t rows) const {
  const DType dtype = kernels::gradient_dtype(plan_.spec().dtype);
  if (second_gradient_.size() == 0) return views(in_transit_, dtype, rows);
  return {view(in_transit_.data(), dtype, rows), view(second_gradient_.data(), dtype, rows)};
}

void HaloAttention::reserve(Direction direction) {
  const std::int64_t most_rows = most_halo_rows();
  const TripBytes trip = trip_bytes(plan_.spec(), direction);
  for (Buffer<std::byte>* of_last_call : {&in_transit_, &second_gradient_, &own_sums_}) *of_last_call = {};
  own_keys_.reset();
  halo_keys_.reset();
  own_keys_.emplace(means_, plan_.k_rows(), direction, passes_over_own_keys());
  halo_keys_.emplace(means_, most_rows, direction);
  in_transit_ = make(trip.there, most_rows);
  second_gradient_ = make(trip.back > trip.there ? trip.back - trip.there : 0, most_rows);
  own_sums_ = make(trip.back, plan_.k_rows());
  global_.reserve(direction);
  reserve_exchanges(direction);
}

void HaloAttention::follow(HaloExchange& exchange, std::size_t round) const {
  exchange.follow({&plan_.rounds()[round], &plan_.global().visits});
}

void HaloAttention::reserve_exchanges(Direction direction) {
  const TripBytes key = trip_bytes(plan_.spec(), direction);
  const TripBytes query = GlobalRows::trip_bytes(plan_.spec(), direction);
  for (std::size_t round = 0; round < rounds(); ++round) {
    follow(fetching_, round);
    follow(homing_, round);
    fetching_.reserve(HaloExchange::Way::fetch, std::array{key.there, round == 0 ? query.there : 0});
    homing().reserve(HaloExchange::Way::home, std::array{key.back, round == 0 ? query.back : 0});
  }
}

void HaloAttention::poll() {
  fetching_.poll();
  homing_.poll();
  Heartbeat::beat();
}

/// The rows of a round set out, with the first one all queries that travel.
template <class Call>
void HaloAttention::fetch(const Call& call, std::size_t round) {
  Timed span(timeline_, Activity::communication, "send rows of round", static_cast<std::int64_t>(round));
  const std::array<ConstTensorView, 2> keys{call.k, call.v};
  const std::vector<ConstTensorView> queries =
      round == 0 ? constant(global_.travelling()) : std::vector<ConstTensorView>{};
  follow(fetching_, round);
  const std::uint64_t sent = fetching_.traffic().bytes;
  fetching_.start(HaloExchange::Way::fetch, {{keys, plan_.halo()->own}, {queries, global_.rows()}});
  span.set_bytes(fetching_.traffic().bytes - sent);
}

void HaloAttention::land(std::size_t round) {
  const Timed span(timeline_, Activity::communication, "wait for rows of round", static_cast<std::int64_t>(round));
  const std::array<TensorView, 2> keys = views(in_transit_, plan_.spec().dtype, halo(round).rows());
  const std::vector<TensorView> queries = round == 0 ? global_.travelling() : std::vector<TensorView>{};
  fetching_.finish({{keys, halo(round)}, {queries, global_.rows()}});
  halo_keys_->pack(halo(round), keys[0], keys[1]);
}

/// meet(round) returns the visible pairs; the next round travels meanwhile.
template <class Call, class Meet>
std::int64_t HaloAttention::meet_rounds(const Call& call, Meet&& meet) {
  std::int64_t pairs = 0;
  for (std::size_t round = 0; round < rounds(); ++round) {
    const bool is_last = round + 1 == rounds();
    if (!is_last) fetch(call, round + 1);
    pairs += meet(round);
    if (!is_last) land(round + 1);
  }
  return pairs;
}

/// What came of a round leaves, with the first one what came of all queries that travelled. No gradients in forward.
void HaloAttention::send_home(std::size_t round, std::span<const ConstTensorView> gradients) {
  Timed span(timeline_, Activity::communication, "send home what came of round", static_cast<std::int64_t>(round));
  const std::vector<ConstTensorView> queries =
      round == 0 ? constant(global_.returning()) : std::vector<ConstTensorView>{};
  follow(homing(), round);
  const std::uint64_t sent = homing().traffic().bytes;
  homing().start(HaloExchange::Way::home, {{gradients, halo(round)}, {queries, global_.rows()}});
  span.set_bytes(homing().traffic().bytes - sent);
}

void HaloAttention::receive_home(std::size_t round, std::span<const TensorView> gradients) {
  const Timed span(timeline_, Activity::communication, "wait for what came of round", static_cast<std::int64_t>(round));
  const std::vector<TensorView> queries = round == 0 ? global_.returning() : std::vector<TensorView>{};
  homing().finish({{gradients, plan_.halo()->own}, {queries, global_.rows(), global_.meet_home()}});
}

std::int64_t HaloAttention::forward(const ForwardCall& call, kernels::ForwardPass& pass) {
  const Progress progress = [this] { poll(); };
  global_.collect(call);
  fetch(call, 0);
  own_keys_->pack(plan_.halo()->own, call.k, call.v);
  std::int64_t pairs = compute("own keys", -1, [&] { return own_keys_->forward(at_home(), pass, progress); });
  land(0);
  pairs += compute("visiting queries", -1, [&] { return global_.attend(*own_keys_); });
  send_home(0, {});
  pairs += meet_rounds(call, [&](std::size_t round) {
    const auto meet = [&] { return halo_keys_->forward(at_home(), pass, progress); };
    const std::int64_t visible = compute("rows of round", static_cast<std::int64_t>(round), meet);
    if (round == 0) receive_home(0, {});
    return visible;
  });
  pass.finish(call.out, call.lse);
  global_.settle(call);
  return pairs;
}

std::int64_t HaloAttention::backward(const BackwardCall& call, kernels::BackwardPass& pass, std::span<double> dsink) {
  const Progress progress = [this] { poll(); };
  const std::array<TensorView, 2> sums = own_sums();
  global_.collect(call);
  fetch(call, 0);
  own_keys_->pack(plan_.halo()->own, call.k, call.v);
  std::int64_t pairs = compute("own keys", -1, [&] { return own_keys_->backward(at_home(), pass, progress); });
  land(0);
  pairs += compute("visiting queries", -1, [&] { return global_.attend(*own_keys_); });
  own_keys_->unpack_gradient(sums[0], sums[1]);
  pairs += meet_rounds(call, [&](std::size_t round) {
    const auto meet = [&] { return halo_keys_->backward(at_home(), pass, progress); };
    const std::int64_t visible = compute("rows of round", static_cast<std::int64_t>(round), meet);
    if (round > 0) receive_home(round - 1, sums);
    const std::array<TensorView, 2> gradients = leaving(halo(round).rows());
    halo_keys_->unpack_gradient(gradients[0], gradients[1]);
    send_home(round, std::array<ConstTensorView, 2>{gradients[0], gradients[1]});
    return visible;
  });
  receive_home(rounds() - 1, sums);
  convert(sums[0], call.dk);
  convert(sums[1], call.dv);
  pass.finish(call.dq, dsink);
  global_.settle(call);
  return pairs;
}

Traffic HaloAttention::take_traffic() {
  const Traffic there = fetching_.take_traffic();
  const Traffic back = homing_.take_traffic();
  return {there.messages + back.messages, there.bytes + back.bytes, there.exposed_seconds + back.exposed_seconds};
}

TripBytes HaloAttention::trip_bytes(const AttentionSpec& spec, Direction direction) {
  const bool backward = direction == Direction::backward;
  return {2 * row_bytes(spec, spec.dtype), backward ? 2 * row_bytes(spec, kernels::gradient_dtype(spec.dtype)) : 0};
}

std::uint64_t HaloAttention::bytes(const AttentionSpec& spec, const kernels::KernelTable& table, std::int64_t own_rows,
                                   const DirectRows& rows, Direction direction) {
  const TripBytes key = trip_bytes(spec, direction);
  const TripBytes query = GlobalRows::trip_bytes(spec, direction);
  const HaloRounds& rounds = rows.rounds;
  const std::uint64_t held = HeldKeys::bytes(table, spec, own_rows, direction, rows.most_queries > 0 ? 2 : 1) +
                             HeldKeys::bytes(table, spec, rounds.most_arriving, direction) + take(own_rows, key.back) +
                             take(rounds.most_arriving, most(key)) +
                             GlobalRows::bytes(spec, table, rows.most_queries, direction);
  const std::int64_t most_returning =
      std::min(rounds.most_returning,
               static_cast<std::int64_t>(checked_product({rounds.largest_part, HaloExchange::most_receives})));
  const std::array<std::uint64_t, 2> fetching{take(rounds.most_leaving, key.there),
                                              take(rounds.most_arriving, key.there)};
  const std::array<std::uint64_t, 2> homing{take(rounds.most_arriving, key.back), take(most_returning, key.back)};
  const std::uint64_t staged = rounds.count() == 1 ? std::max(fetching[0], homing[0]) + std::max(fetching[1], homing[1])
                                                   : fetching[0] + fetching[1] + homing[0] + homing[1];
  // Queries: as much each way where neighbours are alike; owners of global tokens hear from all.
  return held + staged + 2 * take(rows.most_queries, most(query)) + take(rows.most_returning, query.back);
}

}  // namespace annulus
