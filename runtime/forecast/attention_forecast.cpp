/// The machine's rates times what each rank does, played through step by step.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/forecast/attention_forecast.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/base/error.hpp"
#include "runtime/engine/attention_plan.hpp"
#include "runtime/engine/halo_attention.hpp"
#include "runtime/forecast/ring_times.hpp"
#include "runtime/forecast/step_work.hpp"
#include "runtime/layout/travel_plan.hpp"

namespace annulus::forecast {
namespace {

using kernels::Direction;

constexpr int agreements_per_call = 2;  ///< on the call, and to begin: each a reduction over all ranks

/// Seconds of one rank's cores.
class Compute {
 public:
  Compute(const AttentionSpec& spec, Direction direction, const Machine& machine, const Placement& placement)
      : speed_(kernel_speed(machine, spec.dtype, spec.head_dim, direction)),
        heads_(static_cast<double>(spec.batch * spec.heads) / placement.threads * placement.crowding(machine.cores_per_node)),
        flops_per_pair_((direction == Direction::forward ? 4.0 : 10.0) * static_cast<double>(spec.head_dim)) {}

  double step(const StepWork& work, std::int64_t rows) const {
    if (work.pairs <= 0) return 0;
    const double pairs = work.pairs + work.edges * speed_.edge_keys;
    return heads_ * (pairs * flops_per_pair_ / speed_.flops_per_second + static_cast<double>(rows) * speed_.step_row_seconds);
  }
  double call(std::int64_t rows) const { return heads_ * static_cast<double>(rows) * speed_.row_seconds; }

 private:
  const KernelSpeed& speed_;
  double heads_;  ///< per core
  double flops_per_pair_;
};

/// Few where there are many ranks: pieces are short then, and most of them wholly visible.
int samples_for(int ranks) { return std::clamp(2048 / ranks, 8, 128); }

double agreement_seconds(const Placement& placement, const Machine& machine) {
  const double rounds = std::bit_width(static_cast<unsigned>(placement.ranks - 1));
  if (rounds == 0) return 0;
  const LinkSpeed& link = link_speed(machine, placement.nodes() > 1);
  return 2 * rounds * link.latency_seconds * agreements_per_call;
}

/// Of each of so many ranks of a node that send to others at the same time: they share its ports.
double rate_between_nodes(const Machine& machine, int senders) {
  const double alone = link_speed(machine, true).bytes_per_second;
  const double ports = machine.node_ports_bytes_per_second;
  return ports > 0 ? std::min(alone, ports / senders) : alone;
}

/// A ring of whole blocks.
class Ring {
 public:
  Ring(const AttentionSpec& spec, LayoutSpec layout, const Placement& placement, ExchangeKind exchange,
       Direction direction, const kernels::KernelTable& table, const Machine& machine)
      : placement_(placement),
        machine_(machine),
        direction_(direction),
        plan_(spec, layout, {0, placement.ranks}),
        compute_(spec, direction, machine, placement),
        ring_(0, placement.ranks, group_size(exchange, placement)),
        block_(table.packed_rows(plan_.block_shape(0), direction)),
        gradient_(table.gradient_rows(plan_.block_shape(0))),
        home_parts_(home_parts(table, largest_block(), placement.threads)),
        seen_(ring_, plan_.mask(), plan_.q_layout(), plan_.k_layout(), block_.granule) {
    const int samples = samples_for(placement.ranks);
    for (int rank = 0; rank < placement.ranks; ++rank) {
      rings_.emplace_back(rank, placement.ranks, ring_.group_size);
      queries_.emplace_back(plan_.mask(), plan_.q_layout().row_set(rank), samples);
      counters_.push_back(plan_.k_layout().row_counter(rank));
    }
  }

  CallForecast run() {
    RingCosts costs{.ranks = placement_.ranks,
                    .group_size = ring_.group_size,
                    .compute = [this](int rank, int step) { return step_seconds(rank, step); },
                    .block = [this](int rank, int hop) { return transfer(rank, block_bytes(next(rank), hop)); },
                    .last_pieces = home_parts_};
    if (backward()) {
      costs.gradient = [this](int rank, int hop) { return transfer(rank, gradient_bytes(next(rank), hop)); };
    }
    const RingTimes times = ring_times(costs);
    CallForecast forecast{.seconds = times.seconds,
                          .compute_seconds = times.compute_seconds,
                          .mean_compute_seconds = times.mean_compute_seconds,
                          .exposed_seconds = times.exposed_seconds};
    const double once = compute_.call(plan_.q_layout().max_rows());
    forecast.seconds += once + agreement_seconds(placement_, machine_);
    forecast.compute_seconds += once;
    forecast.mean_compute_seconds += once;
    count_bytes(forecast);
    return forecast;
  }

 private:
  kernels::BlockShape largest_block() const {
    kernels::BlockShape block = plan_.block_shape(0);
    block.rows = plan_.k_layout().max_rows();
    return block;
  }
  static int group_size(ExchangeKind exchange, const Placement& placement) {
    if (exchange == ExchangeKind::shared) return placement.ranks;
    return exchange == ExchangeKind::nodes ? placement.ranks_of_node() : 1;
  }
  bool backward() const { return direction_ == Direction::backward; }
  const RingSchedule& ring(int rank) const { return rings_[static_cast<std::size_t>(rank)]; }
  int next(int rank) const { return ring(rank).next(); }
  int node(int rank) const { return rank / placement_.ranks_per_node; }

  double step_seconds(int rank, int step) {
    const int owner = ring(rank).owner_at(step);
    const std::int64_t rows = seen_(owner, ring(rank).hop_of(step));
    const StepWork work = queries_[static_cast<std::size_t>(rank)].against(counters_[static_cast<std::size_t>(owner)], rows);
    return compute_.step(work, plan_.q_layout().rows(rank)) + stolen_seconds(rank, step);
  }
  /// What the transfers of a hop take from the cores that compute meanwhile.
  double stolen_seconds(int rank, int step) const {
    if (!ring(rank).begins_hop(step) || ring_.groups() == 1 || link_of(rank).busy_share == 0) return 0;
    const int hop = ring(rank).hop_of(step);
    double seconds = hop + 1 < ring_.groups() ? transfer(rank, block_bytes(next(rank), hop)) : 0;
    if (backward() && hop > 0) seconds += transfer(rank, gradient_bytes(next(rank), hop - 1));
    return link_of(rank).busy_share * seconds / placement_.threads;
  }

  bool leaves_node(int rank) const { return node(rank) != node(next(rank)); }
  const LinkSpeed& link_of(int rank) const { return link_speed(machine_, leaves_node(rank)); }
  /// From next(rank) to `rank`; ranks of a node that send to others at the same time share its ports.
  double transfer(int rank, double bytes) const {
    if (bytes == 0) return 0;
    const LinkSpeed& link = link_of(rank);
    return link.latency_seconds + bytes / (leaves_node(rank) ? rate_between_nodes(machine_, ring_.group_size) : link.bytes_per_second);
  }

  /// That `rank` sends at the end of `hop`.
  double block_bytes(int rank, int hop) const { return bytes(block_, onward(rank, hop)); }
  double gradient_bytes(int rank, int hop) const { return bytes(gradient_, onward(rank, hop)); }
  std::int64_t onward(int rank, int hop) const {
    const int owner = ring(rank).owner_at(hop * ring_.group_size);
    return seen_(owner, ring_.is_last_hop(hop) ? hop : hop + 1);
  }
  static double bytes(const kernels::RowArray& array, std::int64_t rows) { return static_cast<double>(array.bytes(rows)); }

  void count_bytes(CallForecast& forecast) const {
    for (int rank = 0; rank < placement_.ranks && ring_.groups() > 1; ++rank) {
      double sent = 0;
      for (int hop = 0; hop < ring_.groups(); ++hop) {
        if (!ring_.is_last_hop(hop)) sent += block_bytes(rank, hop);
        if (backward()) sent += gradient_bytes(rank, hop) + left_bytes(rank, hop);
      }
      forecast.bytes_sent += sent;
      forecast.most_bytes_per_link = std::max(forecast.most_bytes_per_link, sent);
    }
  }
  /// Gradients of rows that nobody further on sees go straight to their owner.
  double left_bytes(int rank, int hop) const {
    if (hop == 0) return 0;
    const int owner = ring(rank).owner_at(hop * ring_.group_size);
    return bytes(gradient_, seen_(owner, hop) - onward(rank, hop));
  }

  const Placement& placement_;
  const Machine& machine_;
  Direction direction_;
  AttentionPlan plan_;
  Compute compute_;
  RingSchedule ring_;
  kernels::RowArray block_;
  kernels::RowArray gradient_;
  int home_parts_;
  RowsStillSeen seen_;
  std::vector<RingSchedule> rings_;
  std::vector<SampledQueries> queries_;
  std::vector<Layout::RowCounter> counters_;
};

/// Rows come straight from their owners: the first round while the own block is attended to, the rest while the one before
/// is. Their gradients go home after the last.
CallForecast forecast_direct(const AttentionSpec& spec, const AttentionPlan& plan, const Placement& placement,
                             Direction direction, const Machine& machine) {
  const Compute compute(spec, direction, machine, placement);
  const TripBytes trip = HaloAttention::trip_bytes(spec, direction);
  const auto arriving = static_cast<double>(plan.direct().keys) / placement.ranks;
  const auto seconds = [&](std::uint64_t row_bytes) {
    if (row_bytes == 0 || arriving == 0) return 0.0;
    const LinkSpeed& link = link_speed(machine, placement.nodes() > 1);
    return link.latency_seconds + arriving * static_cast<double>(row_bytes) / link.bytes_per_second;
  };
  CallForecast forecast;
  double own_seconds = 0;
  for (int rank = 0; rank < placement.ranks; ++rank) {
    const std::int64_t rows = plan.q_layout().rows(rank);
    const SampledQueries queries(plan.mask(), plan.q_layout().row_set(rank), samples_for(placement.ranks));
    const double all = compute.step(queries.with_all(), rows) + compute.call(rows);
    const StepWork own = queries.against(plan.k_layout().row_counter(rank), plan.k_layout().rows(rank));
    forecast.mean_compute_seconds += all / placement.ranks;
    if (all <= forecast.compute_seconds) continue;
    forecast.compute_seconds = all;
    own_seconds = compute.step(own, rows);
  }
  forecast.exposed_seconds = std::max(0.0, seconds(trip.there) - own_seconds) + seconds(trip.back);
  forecast.seconds = forecast.compute_seconds + forecast.exposed_seconds + agreement_seconds(placement, machine);
  forecast.bytes_sent = static_cast<double>(plan.direct().keys) * static_cast<double>(trip.there + trip.back);
  forecast.most_bytes_per_link = arriving * static_cast<double>(trip.there + trip.back);
  return forecast;
}

}  // namespace

bool knows_links(const Machine& machine, const Placement& placement) {
  return (placement.ranks_of_node() == 1 || machine.node) && (placement.nodes() == 1 || machine.network);
}

ExchangeKind resolve_exchange(ExchangeKind wanted, const Placement& placement) {
  const bool one_node = placement.nodes() == 1;
  if (wanted == ExchangeKind::shared && !one_node) {
    throw UsageError("--exchange shared needs all ranks on one node (blocks are read in place); try auto, nodes or messages");
  }
  if (wanted == ExchangeKind::nodes && !placement.even()) {
    throw UsageError("--exchange nodes needs as many ranks on every node; try auto or messages");
  }
  if (wanted != ExchangeKind::automatic) return wanted;
  if (one_node) return ExchangeKind::shared;
  return placement.even() && placement.ranks_of_node() > 1 ? ExchangeKind::nodes : ExchangeKind::messages;
}

CallForecast forecast_attention(const AttentionSpec& spec, LayoutSpec layout, const Placement& placement,
                                ExchangeKind exchange, Direction direction, const kernels::KernelTable& table,
                                const Machine& machine) {
  const AttentionPlan plan(spec, layout, {0, placement.ranks});
  CallForecast forecast = plan.halo() ? forecast_direct(spec, plan, placement, direction, machine)
                                      : Ring(spec, layout, placement, exchange, direction, table, machine).run();
  forecast.flops = attention_flops(spec, direction);
  return forecast;
}

CallForecast forecast_local(const AttentionSpec& spec, const RowSet& computed, const Placement& placement, Direction direction,
                            const Machine& machine) {
  const Compute compute(spec, direction, machine, placement);
  const SampledQueries queries(Mask(spec.mask, spec.seq_q, spec.seq_k), computed, samples_for(1));
  CallForecast forecast;
  forecast.compute_seconds = compute.step(queries.with_all(), computed.rows()) + compute.call(computed.rows());
  forecast.seconds = forecast.mean_compute_seconds = forecast.compute_seconds;
  forecast.flops = attention_flops(spec, direction);
  return forecast;
}

double hiding_rows(const AttentionSpec& spec, Direction direction, double flops_per_second, const LinkSpeed& link) {
  const double heads_per_kv = static_cast<double>(spec.heads) / static_cast<double>(spec.kv_heads);
  const auto element = static_cast<double>(size_of(spec.dtype));
  if (direction == Direction::forward) return element * flops_per_second / (2 * link.bytes_per_second * heads_per_kv);
  const auto gradient = static_cast<double>(size_of(kernels::gradient_dtype(spec.dtype)));
  return (element + gradient) * flops_per_second / (5 * link.bytes_per_second * heads_per_kv);
}

double hiding_rows_of_nodes(const AttentionSpec& spec, Direction direction, double flops_per_second, const Machine& machine,
                            int ranks_of_node) {
  return hiding_rows(spec, direction, flops_per_second, {.bytes_per_second = rate_between_nodes(machine, ranks_of_node)}) / ranks_of_node;
}

}  // namespace annulus::forecast
