/// The layers one after the other: row-wise part, ring, row-wise part.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/stack.hpp"

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

#include "kernels/base/checked.hpp"
#include "kernels/base/stopwatch.hpp"
#include "runtime/comm/agreement.hpp"
#include "runtime/engine/attention_plan.hpp"
#include "runtime/stack/projection.hpp"
#include "runtime/stack/row_moves.hpp"
#include "runtime/stack/seeded.hpp"

namespace annulus::stack {
namespace {
ModelSpec checked(ModelSpec model) {
  check(model);
  return model;
}

/// Collective: a ring for each variant of layers that communicates, in one order on all ranks. The first layer's exists in
/// any case: it knows the layout and the backend.
std::vector<std::unique_ptr<RingAttention>> make_rings(const Communicator& comm, LayoutSpec layout,
                                                       const LayerVariants& variants, LocalHalo halo,
                                                       const Execution& execution) {
  std::vector<std::unique_ptr<RingAttention>> rings;
  for (const LayerSpec& layer : variants.specs()) {
    const bool silent = layer.kind == LayerKind::local && halo == LocalHalo::resident && !rings.empty();
    rings.push_back(silent ? nullptr : std::make_unique<RingAttention>(comm.raw(), layout, layer.attention, execution));
  }
  return rings;
}

/// [batch, rows, heads, head_dim] views of a shard's tensors.
struct Shapes {
  const AttentionSpec& spec;
  std::int64_t rows;
  template <class Byte>
  auto q(Byte* data, DType dtype) const {
    return dense_view(data, dtype, spec.batch, rows, spec.heads, spec.head_dim);
  }
  template <class Byte>
  auto kv(Byte* data, DType dtype) const {
    return dense_view(data, dtype, spec.batch, rows, spec.kv_heads, spec.head_dim);
  }
  auto stats(float* lse) const { return dense_stats(lse, spec.batch, spec.heads, rows); }
};

std::byte* bytes(const Buffer<float>& buffer) { return reinterpret_cast<std::byte*>(buffer.data()); }
}  // namespace

Stack::Stack(const Communicator& comm, LayoutSpec layout, ModelSpec model, const Execution& execution,
             kernels::Direction direction, LocalHalo local_halo)
    : comm_(comm),
      timeline_(execution.timeline),
      deterministic_(execution.deterministic),
      model_(checked(std::move(model))),
      direction_(direction),
      local_halo_(resolve(local_halo, model_, layout, comm.size())),
      variants_(model_),
      rows_(model_, layout, comm.rank(), comm.size(), local_halo_),
      rings_(make_rings(comm, layout, variants_, local_halo_, execution)),
      workers_(ring().threads()),
      layer_rows_(model_, workers_, model_.attention.batch * rows_.most_rows()) {
  const int sharing = comm_.node().size();  // at most: the ranks of a node may have several GPUs
  together(comm_, [&] {
    prepare_projections(workers_.size());
    projection_ = gpu_projection(model_, ring().backend(), direction_, sharing);
    if (projection_) layer_rows_.project_on(*projection_);
    allocate();
  });
}

void Stack::allocate() {
  const AttentionSpec& spec = model_.attention;
  const std::int64_t all_rows = spec.batch * rows_.most_rows();
  const auto held = [&](std::int64_t layer) { return keeps_all() ? spec.batch * rows_.held(layer).rows() : all_rows; };
  const auto item = static_cast<std::int64_t>(size_of(spec.dtype));
  const auto bytes_of = [&](std::int64_t width) { return Buffer<std::byte>(all_rows * width * item); };
  const auto floats_of = [&](std::int64_t width) { return Buffer<float>(all_rows * width); };
  const std::int64_t kept = keeps_all() ? model_.layers : 1;
  for (std::int64_t i = 0; i <= kept; ++i) {  // x has the rows of the layer before it, then those of the layer that reads it
    const std::int64_t most = std::max(held(i), held(std::max<std::int64_t>(i - 1, 0)));
    x_.push_back(Buffer<std::byte>(most * model_.width() * item));
  }
  for (std::int64_t i = 0; i < kept; ++i) {
    out_.push_back(Buffer<float>(held(i) * model_.width()));
    lse_.push_back(Buffer<float>(held(i) * spec.heads));
  }
  qkv_ = {bytes_of(model_.width()), bytes_of(model_.kv_width()), bytes_of(model_.kv_width())};
  for (std::int64_t layer = 0; layer < model_.layers; ++layer) {
    if (rows_.opens_run(layer)) exchange_of(layer);
  }
  if (!keeps_all()) return;
  dx_ = floats_of(model_.width());
  dout_ = floats_of(model_.width());
  dsink_.resize(spec.sink ? static_cast<std::size_t>(spec.heads) : 0);
  qkv_gradient_ = {floats_of(model_.width()), floats_of(model_.kv_width()), floats_of(model_.kv_width())};
}

/// Of the run that `layer` opens; room for its rows is made at the first call.
HaloExchange& Stack::exchange_of(std::int64_t layer) {
  const StackRows::Run* run = rows_.run(layer);
  const auto [entry, is_new] = exchanges_.try_emplace(run, comm_, run->halo);
  const auto widest = static_cast<std::int64_t>(keeps_all() ? sizeof(float) : size_of(model_.attention.dtype));
  if (is_new) entry->second.reserve(checked_product({model_.attention.batch, model_.width(), widest}));
  return entry->second;
}

std::span<const std::byte> Stack::output() const { return first(x_[slot(model_.layers, x_.size())], rows_.own()); }

TensorView Stack::rows_view(std::byte* data, DType dtype, const RowSet& rows) const {
  return dense_view(data, dtype, model_.attention.batch, rows.rows(), 1, model_.width());
}

Stack::OwnCost& Stack::open_cost(std::int64_t layer, kernels::Direction direction) {
  return costs_.emplace_back(OwnCost{layer, direction, {}, {}, 0});
}

void Stack::forward(const ForwardObserver& observe, std::int64_t begin) {
  for (std::int64_t layer = begin; layer < model_.layers; ++layer) {
    const Stopwatch watch;
    const Timed span(timeline_, Activity::other, "forward layer", layer);
    open_cost(layer, kernels::Direction::forward);
    layer_rows_.hold(rows_.held(layer));
    const LayerWeights weights = compute("weights", [&] { return layer_weights(model_, layer, workers_); });
    compute("norm, q, k, v", [&] { layer_rows_.before_attention(model_.kind(layer), weights, x(layer).data(), qkv_); });
    attend(layer, weights);
    compute("projection, residual", [&] {
      layer_rows_.after_attention(weights, x(layer).data(), out(layer).data(), x(layer + 1).data());
    });
    costs_.back().seconds = watch.seconds();
    if (observe) {
      observe({layer, rows_.held(layer), weights, x(layer).data(), qkv_, out(layer).data(), lse(layer).data(),
               x(layer + 1).data()});
    }
    const Stopwatch entering;
    enter(layer + 1);
    costs_.back().seconds += entering.seconds();
  }
}

void Stack::with_shard(std::int64_t layer, const std::function<void(const ShardView&)>& take) {
  const AttentionSpec& spec = model_.attention;
  const RowSet& held = rows_.held(layer);
  const RowSet& own = rows_.own();
  const auto item = static_cast<std::int64_t>(size_of(spec.dtype));
  const auto wide = static_cast<std::int64_t>(sizeof(float));
  const auto alone = [&](std::byte* tensor, std::int64_t row_bytes, std::int64_t batch) {
    return ShardAlone(tensor, batch, row_bytes, held, own);
  };
  const ShardAlone x_rows = alone(x(layer + 1).data(), model_.width() * item, spec.batch);
  const ShardAlone q_rows = alone(qkv_.q.data(), model_.width() * item, spec.batch);
  const ShardAlone k_rows = alone(qkv_.k.data(), model_.kv_width() * item, spec.batch);
  const ShardAlone v_rows = alone(qkv_.v.data(), model_.kv_width() * item, spec.batch);
  const ShardAlone out_rows = alone(bytes(out(layer)), model_.width() * wide, spec.batch);
  const ShardAlone lse_rows = alone(bytes(lse(layer)), wide, spec.batch * spec.heads);
  const Shapes shapes{spec, own.rows()};
  take({rows_view(x(layer + 1).data(), spec.dtype, own), shapes.q(qkv_.q.data(), spec.dtype),
        shapes.kv(qkv_.k.data(), spec.dtype), shapes.kv(qkv_.v.data(), spec.dtype),
        shapes.q(bytes(out(layer)), DType::f32), shapes.stats(lse(layer).data())});
}

RowSet Stack::halo_behind(std::int64_t layer) const {
  if (rows_.run(layer) == nullptr || rows_.run(layer) != rows_.run(layer + 1) || rows_.opens_run(layer + 1)) return {};
  return without(rows_.computed(layer), rows_.own());
}

/// x(layer) has the rows of the layer before; gives it those of `layer`. A halo is fetched: the one exchange of a run.
void Stack::enter(std::int64_t layer) {
  if (rows_.run(layer) == rows_.run(layer - 1)) return;
  const RowSet& from = rows_.held(layer - 1);
  const RowSet& to = rows_.held(layer);
  const AttentionSpec& spec = model_.attention;
  const std::int64_t row_bytes = model_.width() * static_cast<std::int64_t>(size_of(spec.dtype));
  std::byte* const data = x(layer).data();
  if (!rows_.opens_run(layer)) return narrow(data, spec.batch, row_bytes, from, to);
  Timed span(timeline_, Activity::communication, "halo of x");
  HaloExchange& exchange = exchange_of(layer);
  exchange.start(HaloExchange::Way::fetch, std::array<ConstTensorView, 1>{rows_view(data, spec.dtype, from)}, from);
  widen(data, spec.batch, row_bytes, from, to);
  exchange.finish(std::array<TensorView, 1>{rows_view(data, spec.dtype, to)}, to);
  costs_.back().halo = exchange.take_traffic();
  span.set_bytes(costs_.back().halo.bytes);
}

/// The attention of a resident local layer, told which rows it keeps.
Stack::Resident& Stack::resident_of(std::int64_t layer) {
  const RowSet& held = rows_.held(layer);
  const LocalRows rows{held, rows_.computed(layer), held};
  const std::size_t variant = variants_.of(layer);
  if (const auto found = residents_.find(variant); found != residents_.end()) {
    found->second.attention.keep(rows);
    return found->second;
  }
  const AttentionSpec& spec = variants_.specs()[variant].attention;
  const Execution execution{
      .backend = std::string(ring().backend()), .threads = ring().threads(), .timeline = timeline_,
      .deterministic = deterministic_};
  const std::int64_t pairs = block_mask(Mask(spec.mask, spec.seq_q, spec.seq_k), rows_.own(), rows_.own(), held).pairs;
  return residents_.emplace(variant, Resident{LocalAttention(spec, rows, execution), pairs}).first->second;
}

/// Halo rows are computed twice: that is work, but of no use.
template <class Call>
void Stack::attend_with(std::int64_t layer, const Call& call) {
  constexpr bool backward = std::is_same_v<Call, BackwardCall>;
  const auto run = [&](auto& attention) {
    if constexpr (backward) {
      attention.backward(call);
    } else {
      attention.forward(call);
    }
    costs_.back().attention = attention.last_call();
  };
  if (rows_.run(layer) == nullptr) return run(ring_of(layer));
  Resident& resident = resident_of(layer);
  run(resident.attention);
  const auto direction = backward ? kernels::Direction::backward : kernels::Direction::forward;
  costs_.back().attention.flops = call_flops(model_.attention, direction, resident.useful_pairs);
}

void Stack::attend(std::int64_t layer, const LayerWeights& weights) {
  const AttentionSpec& spec = model_.attention;
  const Shapes shapes{spec, rows_.held(layer).rows()};
  const ForwardCall call{.q = shapes.q(qkv_.q.data(), spec.dtype),
                         .k = shapes.kv(qkv_.k.data(), spec.dtype),
                         .v = shapes.kv(qkv_.v.data(), spec.dtype),
                         .out = shapes.q(bytes(out(layer)), DType::f32),
                         .lse = shapes.stats(lse(layer).data()),
                         .sink = weights.sink};
  attend_with(layer, call);
}

void Stack::backward(const std::function<void(std::int64_t)>& observe) {
  ANNULUS_EXPECT(keeps_all());
  for (std::int64_t layer = model_.layers; layer-- > 0;) {
    const Stopwatch watch;
    const Timed span(timeline_, Activity::other, "backward layer", layer);
    open_cost(layer, kernels::Direction::backward);
    const RowSet& held = rows_.held(layer);
    layer_rows_.hold(held);
    enter_backward(layer);
    const LayerWeights weights = compute("weights", [&] { return layer_weights(model_, layer, workers_); });
    compute("norm, q, k, v again", [&] {
      layer_rows_.before_attention(model_.kind(layer), weights, x(layer).data(), qkv_);
    });
    compute("gradient of projection", [&] { layer_rows_.after_attention_backward(weights, dx_.data(), dout_.data()); });
    attend_backward(layer, weights);
    compute("gradient of q, k, v, norm", [&] {
      layer_rows_.before_attention_backward(model_.kind(layer), weights, x(layer).data(), qkv_gradient_, dx_.data());
    });
    if (rows_.opens_run(layer)) leave_backward(layer);
    costs_.back().seconds = watch.seconds();
    if (observe) observe(layer);
  }
}

/// dx has the rows of the layer behind; behind a run it is the shard's, and the halo rows have no gradient yet.
void Stack::enter_backward(std::int64_t layer) {
  if (rows_.run(layer) == nullptr || rows_.run(layer) == rows_.run(layer + 1)) return;
  const std::int64_t row_bytes = model_.width() * static_cast<std::int64_t>(sizeof(float));
  widen(bytes(dx_), model_.attention.batch, row_bytes, rows_.own(), rows_.held(layer));
}

/// The gradients of a run's halo rows go home; dx is the shard's again.
void Stack::leave_backward(std::int64_t layer) {
  Timed span(timeline_, Activity::communication, "gradients of the halo");
  const RowSet& held = rows_.held(layer);
  const TensorView dx = rows_view(bytes(dx_), DType::f32, held);
  HaloExchange& exchange = exchange_of(layer);
  exchange.start(HaloExchange::Way::home, std::array<ConstTensorView, 1>{dx}, held);
  exchange.finish(std::array<TensorView, 1>{dx}, held);
  costs_.back().halo = exchange.take_traffic();
  span.set_bytes(costs_.back().halo.bytes);
  const std::int64_t row_bytes = model_.width() * static_cast<std::int64_t>(sizeof(float));
  narrow(bytes(dx_), model_.attention.batch, row_bytes, held, rows_.own());
}

void Stack::attend_backward(std::int64_t layer, const LayerWeights& weights) {
  const AttentionSpec& spec = model_.attention;
  const Shapes shapes{spec, rows_.held(layer).rows()};
  const BackwardCall call{.q = shapes.q(qkv_.q.data(), spec.dtype),
                          .k = shapes.kv(qkv_.k.data(), spec.dtype),
                          .v = shapes.kv(qkv_.v.data(), spec.dtype),
                          .out = shapes.q(bytes(out(layer)), DType::f32),
                          .dout = shapes.q(bytes(dout_), DType::f32),
                          .lse = shapes.stats(lse(layer).data()),
                          .dq = shapes.q(bytes(qkv_gradient_.dq), DType::f32),
                          .dk = shapes.kv(bytes(qkv_gradient_.dk), DType::f32),
                          .dv = shapes.kv(bytes(qkv_gradient_.dv), DType::f32),
                          .sink = weights.sink,
                          .dsink = dsink_};
  attend_with(layer, call);
}

std::vector<LayerCost> Stack::costs() const {
  std::vector<std::uint64_t> counts;
  std::vector<double> flops;
  std::vector<double> times;
  for (const OwnCost& cost : costs_) {
    counts.insert(counts.end(), {cost.attention.messages + cost.halo.messages, cost.attention.bytes_sent + cost.halo.bytes});
    flops.push_back(cost.attention.flops);
    times.insert(times.end(), {cost.seconds, cost.attention.seconds,
                               cost.attention.exposed_comm_seconds + cost.halo.exposed_seconds});
  }
  comm_.sum(counts);
  comm_.sum(flops);
  comm_.max(times);
  std::vector<LayerCost> all;
  for (std::size_t i = 0; i < costs_.size(); ++i) {
    all.push_back({costs_[i].index, costs_[i].direction, counts[2 * i], counts[2 * i + 1], flops[i], times[3 * i],
                   times[3 * i + 1], times[3 * i + 2]});
  }
  return all;
}

void seed_gradient(Stack& stack, std::uint64_t seed, int rank) {
  constexpr std::uint64_t gradient_stream = 0x67726164;  // "grad": no layer has this index
  const Seeded random(seed, {gradient_stream});
  const std::int64_t width = stack.model().width();
  const std::int64_t seq = stack.layout().seq_len();
  const std::int64_t rows = stack.rows();
  float* gradient = stack.gradient().data();
  stack.workers().for_each(stack.model().attention.batch * rows, [&](std::int64_t row, int) {
    const std::int64_t pos = stack.layout().position(rank, row % rows);
    const std::int64_t first = (row / rows * seq + pos) * width;
    for (std::int64_t i = 0; i < width; ++i) {
      gradient[row * width + i] = static_cast<float>(random.normal(static_cast<std::uint64_t>(first + i)));
    }
  });
}

}  // namespace annulus::stack
