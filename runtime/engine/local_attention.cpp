/// One block of held keys per call.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/local_attention.hpp"

#include <string>
#include <utility>

#include "kernels/base/stopwatch.hpp"
#include "runtime/comm/placement.hpp"
#include "runtime/engine/attention_plan.hpp"
#include "runtime/engine/call_check.hpp"
#include "runtime/engine/held_keys.hpp"
#include "runtime/layout/halo_plan.hpp"

namespace annulus {

using kernels::Direction;

LocalRows local_rows(const MaskSpec& mask, const Layout& layout, int rank) {
  const RowSet own = layout.row_set(rank);
  const Mask rule(mask, layout.seq_len(), layout.seq_len());
  return {own, own, unite(own, needed_rows(rule, own))};
}

std::uint64_t local_attention_bytes(const AttentionSpec& spec, std::int64_t rows, const kernels::KernelTable& table,
                                    Direction direction) {
  constexpr std::int64_t most_spans = 2;  // window or chunk, and what is always visible; a stride leaves no local layer
  const std::uint64_t mask = checked_product({rows, most_spans, static_cast<std::int64_t>(sizeof(kernels::RowSpan))});
  return HeldKeys::bytes(table, spec, rows, direction) + mask +
         table.pass_bytes(make_problem(spec, rows, {}, {}), direction);
}

namespace {

void check_range(const RowSet& rows, std::int64_t end, const std::string& name) {
  if (rows.empty()) return;
  const std::int64_t first = rows.pieces().front().pos;
  const std::int64_t last = rows.pieces().back().pos + rows.pieces().back().rows - 1;
  if (first >= 0 && last < end) return;
  throw UsageError(name + " at positions " + std::to_string(first) + " to " + std::to_string(last) +
                   " (the sequence has positions 0 to " + std::to_string(end - 1) + "); try positions of the whole sequence");
}

void check_rows(const LocalRows& rows, const AttentionSpec& spec, const Mask& mask) {
  check_range(rows.queries, spec.seq_q, "queries");
  check_range(rows.keys, spec.seq_k, "keys");
  if (!without(rows.computed, rows.queries).empty()) {
    throw UsageError("computed rows that are no rows of q (their results have no place); try a subset of the queries");
  }
  const RowSet missing = without(needed_rows(mask, rows.computed), rows.keys);
  if (missing.empty()) return;
  throw UsageError(std::to_string(missing.rows()) + " keys that computed queries see are not held, the first at position " +
                   std::to_string(missing.position(0)) +
                   " (results would silently lack them); try local_rows(), or fewer computed rows");
}

}  // namespace

struct LocalAttention::Impl {
  Impl(AttentionSpec wanted, const Execution& execution)
      : spec(std::move(wanted)),
        table(kernels::kernel_table(execution.backend, spec.dtype)),
        mask((check_spec(spec), spec.mask), spec.seq_q, spec.seq_k),
        workers(execution.threads > 0 ? execution.threads : usable_cores()),
        deterministic(execution.deterministic),
        timeline(execution.timeline) {
    if (execution.exchange != ExchangeKind::automatic || execution.group_size != 0) {
      throw UsageError("local attention with an exchange (it sends nothing); try automatic");
    }
    if (execution.threads < 0) throw UsageError("a negative number of threads; try 1, or 0 for all cores");
  }

  void keep(LocalRows wanted) {
    check_rows(wanted, spec, mask);
    rows = std::move(wanted);
    positions = query_positions(spec, mask, rows.queries);
  }

  kernels::Resources resources() { return {workers, memory, deterministic}; }
  kernels::Problem problem(std::span<const float> sink) const {
    return make_problem(spec, rows.queries.rows(), positions, sink);
  }
  /// The held keys, packed for one pass.
  HeldKeys keys(Direction direction, const ConstTensorView& k, const ConstTensorView& v) {
    HeldKeys held({table, spec, mask, resources()}, rows.keys.rows(), direction);
    held.pack(rows.keys, k, v);
    return held;
  }
  MeetingRows meeting() const { return {rows.queries, rows.computed}; }

  AttentionSpec spec;
  const kernels::KernelTable& table;
  Mask mask;
  LocalRows rows;
  std::vector<std::int64_t> positions;  ///< of the queries; empty without ALiBi
  Workers workers;
  BufferPool memory;
  bool deterministic;
  Timeline* timeline;
  CallReport last;
};

LocalAttention::LocalAttention(AttentionSpec spec, LocalRows rows, Execution execution)
    : impl_(std::make_unique<Impl>(std::move(spec), execution)) {
  impl_->keep(std::move(rows));
}
LocalAttention::~LocalAttention() = default;
LocalAttention::LocalAttention(LocalAttention&&) noexcept = default;
LocalAttention& LocalAttention::operator=(LocalAttention&&) noexcept = default;

void LocalAttention::keep(LocalRows rows) { impl_->keep(std::move(rows)); }
int LocalAttention::threads() const { return impl_->workers.size(); }
const LocalRows& LocalAttention::rows() const { return impl_->rows; }
std::string_view LocalAttention::backend() const { return impl_->table.name; }
const CallReport& LocalAttention::last_call() const { return impl_->last; }

void LocalAttention::forward(const ForwardCall& call) {
  Impl& self = *impl_;
  const Timed span(self.timeline, Activity::compute, "forward over held keys");
  const Stopwatch watch;
  check_call(self.spec, self.rows.queries.rows(), self.rows.keys.rows(), call);
  const auto pass = self.table.forward(self.problem(call.sink), call.q, self.resources());
  const HeldKeys keys = self.keys(Direction::forward, call.k, call.v);
  const std::int64_t pairs = keys.forward(self.meeting(), *pass, {});
  pass->finish(call.out, call.lse);
  self.last = {.flops = call_flops(self.spec, Direction::forward, pairs), .seconds = watch.seconds()};
}

void LocalAttention::backward(const BackwardCall& call) {
  Impl& self = *impl_;
  const Timed span(self.timeline, Activity::compute, "backward over held keys");
  const Stopwatch watch;
  check_call(self.spec, self.rows.queries.rows(), self.rows.keys.rows(), call);
  const kernels::BackwardInputs inputs{call.q, call.out, call.dout, call.lse};
  const auto pass = self.table.backward(self.problem(call.sink), inputs, self.resources());
  HeldKeys keys = self.keys(Direction::backward, call.k, call.v);
  const std::int64_t pairs = keys.backward(self.meeting(), *pass, {});
  keys.unpack_gradient(call.dk, call.dv);
  std::vector<double> dsink(call.dsink.size());
  pass->finish(call.dq, dsink);
  std::copy(dsink.begin(), dsink.end(), call.dsink.begin());
  self.last = {.flops = call_flops(self.spec, Direction::backward, pairs), .seconds = watch.seconds()};
}

}  // namespace annulus
