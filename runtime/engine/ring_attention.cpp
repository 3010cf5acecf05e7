/// The ring loop, forward and backward: read this first.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/ring_attention.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/base/stopwatch.hpp"
#include "runtime/comm/agreement.hpp"
#include "runtime/comm/placement.hpp"
#include "runtime/comm/vigil.hpp"
#include "runtime/engine/attention_plan.hpp"
#include "runtime/engine/call_check.hpp"
#include "runtime/engine/halo_attention.hpp"
#include "runtime/engine/settings_hash.hpp"
#include "runtime/device/device_carrier.hpp"
#include "runtime/device/host_copies.hpp"
#include "runtime/device/movers.hpp"
#include "runtime/device/placement.hpp"
#include "runtime/exchange/exchange.hpp"

namespace annulus {

using kernels::Direction;

struct RingAttention::Impl {
  Impl(Communicator ranks, LayoutSpec layout, AttentionSpec spec, Execution how);

  void make_ring(LayoutSpec layout);
  template <class Call>
  void begin(Direction direction, const Call& call);
  template <class Work>
  void open_together(Work&& work);
  template <class Call>
  void prepare(Direction direction, const Call& call);
  template <class Attend>
  void rotate(Attend&& attend);
  void keep_moving() {
    exchange->poll();
    Heartbeat::beat();
  }
  void attend_ring(kernels::ForwardPass& pass);
  void attend_ring(const BackwardCall& call, kernels::BackwardPass& pass);
  void report(Direction direction, double seconds);
  HostCopies host_copies() {
    const bool takes_device_pointers = table->device_bytes != nullptr;
    return {kernels::cuda::cuda_memory(), execution.stream, takes_device_pointers ? "" : table->name};
  }
  kernels::Resources resources() { return {*workers, memory, execution.deterministic}; }

  Communicator comm;
  Execution execution;
  RingSchedule ring;                            ///< flat until the exchange is made
  std::uint64_t settings = 0;                   ///< hash of what all ranks agreed on
  std::unique_ptr<AttentionPlan> plan;          ///< made once the ranks agree
  const kernels::KernelTable* table = nullptr;  ///< the backend
  ExchangeKind exchange_kind = ExchangeKind::automatic;
  std::optional<MoverKind> mover;  ///< of exchange device
  std::unique_ptr<Exchange> exchange;
  std::unique_ptr<Workers> workers;
  int most_threads = 1;  ///< of any rank
  BufferPool memory;     ///< of passes: kept from call to call
  std::optional<HaloAttention> halo;  ///< set if only needed rows travel
  std::uint64_t calls = 0;
  std::int64_t pairs = 0;  ///< visible pairs of the running call on this rank
  CallReport last;
};

namespace {

void check_groups(const Execution& execution) {
  if (execution.group_size < 0) throw UsageError("groups of a negative number of ranks; try 0 for those of a node");
  if (execution.group_size > 0 && execution.exchange != ExchangeKind::nodes) {
    throw UsageError("a size of groups without exchange nodes (nobody else makes them); try exchange nodes, or 0");
  }
}

}  // namespace

RingAttention::Impl::Impl(Communicator ranks, LayoutSpec layout, AttentionSpec spec, Execution how)
    : comm(std::move(ranks)), execution(std::move(how)), ring(comm.rank(), comm.size()) {
  const Verdict valid = verdict_of([&] {
    plan = std::make_unique<AttentionPlan>(std::move(spec), layout, ring);
    table = &kernels::kernel_table(execution.backend, plan->spec().dtype);
    if (execution.threads < 0) throw UsageError("a negative number of threads; try 1, or 0 for this rank's share");
    check_groups(execution);
    settings = settings_hash(plan->spec(), layout, table->name, execution);
  });
  agree_on_settings(comm, settings, "the attention's settings", valid);
  const int share = fair_threads(comm.node());
  workers = std::make_unique<Workers>(execution.threads > 0 ? execution.threads : share);
  std::array<std::uint64_t, 1> threads{static_cast<std::uint64_t>(workers->size())};
  comm.max(threads);
  most_threads = static_cast<int>(threads[0]);
  together(comm, [&] {
    if (workers->size() > 1 && !threads_allowed()) {
      throw UsageError("threads in a program that initialised MPI without them (MPI_THREAD_SINGLE); "
                       "try MPI_Init_thread with MPI_THREAD_FUNNELED, or 1 thread");
    }
  });
  make_ring(layout);
  ring = exchange->ring();
  if (plan->halo()) halo.emplace(comm, *plan, *table, resources(), execution.timeline);
}

/// Collective. The exchange, of blocks on a device where the backend has one.
void RingAttention::Impl::make_ring(LayoutSpec layout) {
  DevicePlacement place;
  std::function<Carriers()> device;
  if (table->device != nullptr) {
    place = place_on_device(comm);
    device = [&] {
      mover = choose_mover(comm, place.identity);
      return device_carriers(table->device(), make_mover(*mover, table->device(), comm));
    };
  }
  exchange =
      make_exchange(execution.exchange, comm, slot_bytes(*plan, *table), &exchange_kind, execution.group_size, device);
  if (table->device == nullptr) return;
  check_device_room(comm, place, device_bytes(plan->spec(), layout, ring.size, *table, exchange_kind));
}

/// Collective. Opens a call: the ranks agree that all make the same one, with valid arguments, and have room for it.
template <class Call>
void RingAttention::Impl::begin(Direction direction, const Call& call) {
  const Timed span(execution.timeline, Activity::agreement, "agree on the call");
  PassSizes sizes;
  const Verdict valid = verdict_of([&] {
    check_call(plan->spec(), plan->q_rows(), plan->k_rows(), call);
    if (!halo) sizes = plan->sizes(*table, direction, ring, most_threads);
  });
  agree_on_settings(comm, call_hash(settings, direction, calls++), "which call comes next", valid);
  pairs = 0;
  if (!halo) exchange->begin(std::move(sizes));
}

/// Collective. What a rank does alone before anything travels: if it fails on one, no rank goes on.
template <class Work>
void RingAttention::Impl::open_together(Work&& work) {
  const Timed span(execution.timeline, Activity::agreement, "agree to begin");
  together(comm, std::forward<Work>(work));
}

/// Packs this rank's block where the ring takes it from, or makes room for a halo. Local.
template <class Call>
void RingAttention::Impl::prepare(Direction direction, const Call& call) {
  const Timed span(execution.timeline, Activity::compute, halo ? "room for a halo" : "pack");
  if (halo) return halo->reserve(direction);
  table->pack(plan->block_shape(ring.rank), direction, call.k, call.v, exchange->own_block(), *workers);
  exchange->packed();
}

/// The ring. At `step` this rank attends to the keys born on ring.owner_at(step), while those that others still see
/// already travel on.
template <class Attend>
void RingAttention::Impl::rotate(Attend&& attend) {
  for (int step = 0; step < ring.size; ++step) {
    const int owner = ring.owner_at(step);
    const std::uint64_t sent = exchange->traffic().bytes;
    note_ring_step(step, ring.size);
    exchange->start(step);
    {
      const Timed span(execution.timeline, Activity::compute, "block of rank", owner);
      const BlockMask mask = plan->visible(owner);
      const kernels::BlockShape shape = plan->block_of(exchange->rows(step));
      std::vector<std::int64_t> positions = plan->key_positions(owner);
      if (!positions.empty()) positions.resize(static_cast<std::size_t>(shape.rows));
      attend(step, kernels::Block{shape, exchange->block(step), positions, exchange->memory()}, mask);
      pairs += mask.pairs;
    }
    {
      Timed span(execution.timeline, Activity::communication, "wait for the next block");
      exchange->finish(step);
      span.set_bytes(exchange->traffic().bytes - sent);
    }
    if (execution.on_step) execution.on_step(step, ring.size);
  }
  note_ring_step(0, 0);
}

void RingAttention::Impl::attend_ring(kernels::ForwardPass& pass) {
  exchange->open();
  const Progress progress = [this] { keep_moving(); };
  rotate([&](int, const kernels::Block& block, const BlockMask& mask) {
    if (mask.pairs > 0) pass.attend(block, mask.view(), progress);
  });
}

void RingAttention::Impl::attend_ring(const BackwardCall& call, kernels::BackwardPass& pass) {
  exchange->open();
  const Progress progress = [this] { keep_moving(); };
  rotate([&](int step, const kernels::Block& block, const BlockMask& mask) {
    for (const BlockPart& part : exchange->parts(step)) {
      const bool sees = mask.pairs > 0 && !part.empty();
      if (sees) pass.attend_part(block, mask.view(), {part.begin, part.end}, exchange->share(step), progress);
      const Timed span(execution.timeline, Activity::communication, "add to the gradients that came along");
      exchange->add_share(step, part, mask.pairs == 0);
    }
  });
  const Timed span(execution.timeline, Activity::communication, "gradients come home");
  table->unpack_gradient(plan->block_shape(ring.rank), exchange->home(), call.dk, call.dv);
}

void RingAttention::Impl::report(Direction direction, double seconds) {
  const Traffic traffic = halo ? halo->take_traffic() : exchange->traffic();
  last = {.messages = traffic.messages,
          .bytes_sent = traffic.bytes,
          .flops = call_flops(plan->spec(), direction, pairs),
          .seconds = seconds,
          .exposed_comm_seconds = traffic.exposed_seconds};
}

namespace {

/// Points a call to host memory.
ForwardCall on_host(const ForwardCall& given, HostCopies& copies) {
  ForwardCall call = given;
  copies.read("q", call.q);
  copies.read("k", call.k);
  copies.read("v", call.v);
  copies.write("out", call.out);
  copies.write("lse", call.lse);
  copies.ready();
  return call;
}

BackwardCall on_host(const BackwardCall& given, HostCopies& copies) {
  BackwardCall call = given;
  copies.read("q", call.q);
  copies.read("k", call.k);
  copies.read("v", call.v);
  copies.read("out", call.out);
  copies.read("dout", call.dout);
  copies.read("lse", call.lse);
  copies.write("dq", call.dq);
  copies.write("dk", call.dk);
  copies.write("dv", call.dv);
  copies.ready();
  return call;
}

}  // namespace

RingAttention::RingAttention(MPI_Comm comm, LayoutSpec layout, AttentionSpec spec, Execution execution)
    : impl_(std::make_unique<Impl>(Communicator::duplicate(comm), layout, std::move(spec), std::move(execution))) {}
RingAttention::~RingAttention() = default;
RingAttention::RingAttention(RingAttention&&) noexcept = default;
RingAttention& RingAttention::operator=(RingAttention&&) noexcept = default;

int RingAttention::rank() const { return impl_->ring.rank; }
int RingAttention::size() const { return impl_->ring.size; }
const AttentionSpec& RingAttention::spec() const { return impl_->plan->spec(); }
const Layout& RingAttention::q_layout() const { return impl_->plan->q_layout(); }
const Layout& RingAttention::k_layout() const { return impl_->plan->k_layout(); }
std::string_view RingAttention::backend() const { return impl_->table->name; }
ExchangeKind RingAttention::exchange() const { return impl_->exchange_kind; }
std::string_view RingAttention::mover() const { return impl_->mover ? name(*impl_->mover) : ""; }
int RingAttention::threads() const { return impl_->workers->size(); }
const CallReport& RingAttention::last_call() const { return impl_->last; }

void RingAttention::forward(const ForwardCall& given) {
  Impl& self = *impl_;
  const Stopwatch watch;
  self.begin(Direction::forward, given);
  HostCopies copies = self.host_copies();
  ForwardCall call;
  std::unique_ptr<kernels::ForwardPass> pass;
  self.open_together([&] {
    call = on_host(given, copies);
    pass = self.table->forward(self.plan->problem(call.sink), call.q, self.resources());
    self.prepare(Direction::forward, call);
  });
  if (self.halo) {
    self.pairs = self.halo->forward(call, *pass);
    if (self.execution.on_step) self.execution.on_step(0, 1);
  } else {
    self.attend_ring(*pass);
    const Timed span(self.execution.timeline, Activity::compute, "finish");
    pass->finish(call.out, call.lse);
  }
  copies.give_back();
  self.report(Direction::forward, watch.seconds());
}

void RingAttention::backward(const BackwardCall& given) {
  Impl& self = *impl_;
  const Stopwatch watch;
  self.begin(Direction::backward, given);
  HostCopies copies = self.host_copies();
  BackwardCall call;
  std::unique_ptr<kernels::BackwardPass> pass;
  self.open_together([&] {
    call = on_host(given, copies);
    const kernels::BackwardInputs inputs{call.q, call.out, call.dout, call.lse};
    pass = self.table->backward(self.plan->problem(call.sink), inputs, self.resources());
    self.prepare(Direction::backward, call);
  });
  std::vector<double> dsink(call.dsink.size());
  if (self.halo) {
    self.pairs = self.halo->backward(call, *pass, dsink);
    if (self.execution.on_step) self.execution.on_step(0, 1);
  } else {
    self.attend_ring(call, *pass);
    const Timed span(self.execution.timeline, Activity::compute, "finish");
    pass->finish(call.dq, dsink);
  }
  {
    const Timed span(self.execution.timeline, Activity::agreement, "sum of dsink");
    self.comm.sum(dsink);
  }
  std::copy(dsink.begin(), dsink.end(), call.dsink.begin());
  copies.give_back();
  self.report(Direction::backward, watch.seconds());
}

}  // namespace annulus
