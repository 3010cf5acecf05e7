/// A stack, run again and again over the same tokens.
// SPDX-License-Identifier: Apache-2.0
#include "launch/study/measure.hpp"

#include <algorithm>
#include <array>
#include <ctime>

#include "kernels/base/stopwatch.hpp"
#include "launch/memory.hpp"
#include "launch/report.hpp"
#include "runtime/comm/agreement.hpp"
#include "runtime/stack/embedding.hpp"
#include "runtime/stack/verify.hpp"

namespace annulus::launch {
namespace {

using kernels::Direction;

/// Of any position, spread over the vocabulary.
std::uint8_t token_at(std::int64_t pos) {
  return static_cast<std::uint8_t>((static_cast<std::uint64_t>(pos) * 0x9e3779b97f4a7c15U) >> 56U);
}

double process_cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

class PointRun {
 public:
  PointRun(const Communicator& comm, const PlanPoint& point, const PointRequest& request, const MeasureHow& how,
           MemoryWatch& memory)
      : comm_(comm),
        memory_(memory),
        how_(how),
        backward_(request.scores.backward),
        stack_(comm, point.plan.layout, point.model,
               {.backend = request.scores.backend,
                .exchange = request.scheme.exchange,
                .threads = point.plan.placement.threads,
                .timeline = &timeline_},
               backward_ ? Direction::backward : Direction::forward, point.plan.local_halo) {
    together(comm, [&] { table_ = stack::embedding_table(stack_.model(), stack_.workers()); });
    if (how.verify_rows > 0) {
      verifier_.emplace(comm, stack_.model(), stack_.layout(), stack_.workers(), how.verify_rows, stack_.model().seed);
    }
  }

  MeasuredPoint run() {
    const int warmups = std::max(1, how_.warmups);
    for (int i = 0; i < warmups; ++i) run_once(i == 0);
    computed_before_ = timeline_.seconds(Activity::compute);
    const double cpu_before = process_cpu_seconds();
    const Stopwatch watch;
    for (int i = 0; i < how_.repeats; ++i) run_once(false);
    const double held = (process_cpu_seconds() - cpu_before) / (watch.seconds() * stack_.workers().size());
    MeasuredPoint measured = summary();
    measured.imbalance = imbalance();
    measured.cpu_share = mean(held);
    if (verifier_) {
      measured.errors = errors_;
      measured.verified_rows = static_cast<std::int64_t>(verifier_->samples().size());
    }
    measured.exchange = name(stack_.ring().exchange());
    memory_.look();
    measured.peak_bytes = comm_.all_gather(memory_.most_bytes());
    return measured;
  }

 private:
  void run_once(bool first) {
    fill_input();
    comm_.barrier();
    stack_.forward(first ? [this](const stack::LayerView& view) { look_at(view); } : stack::ForwardObserver{});
    if (!backward_) return;
    stack::seed_gradient(stack_, stack_.model().seed, comm_.rank());
    stack_.backward(first ? [this](std::int64_t) { memory_.look(); } : std::function<void(std::int64_t)>{});
  }

  void fill_input() {
    const stack::ModelSpec& model = stack_.model();
    const RowSet& rows = stack_.input_rows();
    for (std::int64_t row = 0; row < model.attention.batch * rows.rows(); ++row) {
      const std::uint8_t token = token_at(rows.position(row % rows.rows()));
      stack::embed(table_.data(), model.width(), {&token, 1}, row, model.attention.dtype, stack_.input().data());
    }
  }

  void look_at(const stack::LayerView& view) {
    memory_.look();
    if (!verifier_) return;
    const stack::LayerErrors layer = verifier_->check(view);
    errors_.max_abs_error = std::max(errors_.max_abs_error, layer.max_abs_error);
    errors_.max_rel_error = std::max(errors_.max_rel_error, layer.max_rel_error);
  }

  /// Of the repeats: sums over layers, and each layer's medians.
  MeasuredPoint summary() const {
    const std::vector<stack::LayerCost> costs = stack_.costs();
    const std::size_t per_run = static_cast<std::size_t>(stack_.model().layers) * (backward_ ? 2 : 1);
    const std::size_t first = costs.size() - per_run * static_cast<std::size_t>(how_.repeats);
    MeasuredPoint measured;
    Samples sums;
    Samples exposed;
    for (std::size_t begin = first; begin < costs.size(); begin += per_run) {
      double seconds = 0;
      double waited = 0;
      for (std::size_t i = begin; i < begin + per_run; ++i) {
        seconds += costs[i].seconds;
        waited += costs[i].exposed_comm_seconds;
      }
      measured.samples.push_back(seconds);
      sums.add(seconds);
      exposed.add(waited);
    }
    measured.seconds = sums.median();
    measured.spread = (sums.quantile(0.9) - sums.quantile(0.1)) / measured.seconds;
    measured.exposed_seconds = exposed.median();
    for (std::size_t layer = 0; layer < per_run; ++layer) {
      measured.layers.push_back(median_layer(costs, first + layer, per_run));
      measured.flops += measured.layers.back().flops;
    }
    return measured;
  }

  static stack::LayerCost median_layer(const std::vector<stack::LayerCost>& costs, std::size_t first, std::size_t per_run) {
    Samples seconds;
    Samples exposed;
    for (std::size_t i = first; i < costs.size(); i += per_run) {
      seconds.add(costs[i].seconds);
      exposed.add(costs[i].exposed_comm_seconds);
    }
    stack::LayerCost layer = costs[first];
    layer.seconds = seconds.median();
    layer.exposed_comm_seconds = exposed.median();
    return layer;
  }

  double imbalance() const {
    const double own = timeline_.seconds(Activity::compute) - computed_before_;
    std::array<double, 1> most{own};
    comm_.max(most);
    const double usual = mean(own);
    return usual > 0 ? most[0] / usual : 1;
  }
  /// Over the ranks.
  double mean(double own) const {
    std::array<double, 1> sum{own};
    comm_.sum(sum);
    return sum[0] / comm_.size();
  }

  const Communicator& comm_;
  MemoryWatch& memory_;
  const MeasureHow& how_;
  bool backward_;
  Timeline timeline_{Timeline::Keep::sums};
  stack::Stack stack_;
  Buffer<float> table_;
  std::optional<stack::Verifier> verifier_;
  stack::LayerErrors errors_{};
  double computed_before_ = 0;
};

/// The point over few tokens, and each kind of layer once: MPI, BLAS and the allocator keep what they make at the first use of a
/// scheme, and it is theirs.
void rehearse(const Communicator& comm, const PlanPoint& point, const PointRequest& request, MeasureHow how) {
  constexpr std::int64_t tokens_of_rank = 64;
  PlanPoint few = point;
  AttentionSpec& shape = few.model.attention;
  shape.seq_q = shape.seq_k = std::min(shape.seq_k, tokens_of_rank * comm.size());
  few.model.layers = std::min(few.model.layers, static_cast<std::int64_t>(few.model.pattern.size()));
  how.repeats = 1;
  MemoryWatch nobody_reads;
  PointRun(comm, few, request, how, nobody_reads).run();
}

}  // namespace

MeasuredPoint measure_point(const Communicator& comm, const PlanPoint& point, const PointRequest& request,
                            const MeasureHow& how) {
  rehearse(comm, point, request, how);
  MemoryWatch memory;
  return PointRun(comm, point, request, how, memory).run();
}

}  // namespace annulus::launch
