/// The layers one after the other: row-wise part, ring, row-wise part.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/stack.hpp"

#include <array>
#include <chrono>
#include <utility>

#include "runtime/comm/agreement.hpp"
#include "runtime/stack/seeded.hpp"

namespace annulus::stack {
namespace {
ModelSpec checked(ModelSpec model) {
  check(model);
  return model;
}

/// Collective: a ring for each kind of layer that the model has, in one order on all ranks.
std::array<std::optional<RingAttention>, 2> make_rings(const Communicator& comm, LayoutSpec layout,
                                                       const ModelSpec& model, const Execution& execution) {
  std::array<std::optional<RingAttention>, 2> rings;
  for (const LayerKind kind : model.kinds()) {
    rings[static_cast<std::size_t>(kind)].emplace(comm.raw(), layout, model.layer_of(kind).attention, execution);
  }
  return rings;
}

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

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
             kernels::Direction direction)
    : comm_(comm),
      model_(checked(std::move(model))),
      direction_(direction),
      rings_(make_rings(comm, layout, model_, execution)),
      workers_(ring().threads()),
      rows_(this->layout().rows(comm.rank())),
      layer_rows_(model_, this->layout(), comm.rank(), workers_) {
  together(comm_, [&] { allocate(); });
}

void Stack::allocate() {
  const AttentionSpec& spec = model_.attention;
  const std::int64_t all_rows = layer_rows_.rows();
  const auto item = static_cast<std::int64_t>(size_of(spec.dtype));
  const auto bytes_of = [&](std::int64_t width) { return Buffer<std::byte>(all_rows * width * item); };
  const auto floats_of = [&](std::int64_t width) { return Buffer<float>(all_rows * width); };
  const std::int64_t kept = keeps_all() ? model_.layers : 1;
  for (std::int64_t i = 0; i <= kept; ++i) x_.push_back(bytes_of(model_.width()));
  for (std::int64_t i = 0; i < kept; ++i) {
    out_.push_back(floats_of(model_.width()));
    lse_.push_back(floats_of(spec.heads));
  }
  qkv_ = {bytes_of(model_.width()), bytes_of(model_.kv_width()), bytes_of(model_.kv_width())};
  if (!keeps_all()) return;
  dx_ = floats_of(model_.width());
  dout_ = floats_of(model_.width());
  dsink_.resize(spec.sink ? static_cast<std::size_t>(spec.heads) : 0);
  qkv_gradient_ = {floats_of(model_.width()), floats_of(model_.kv_width()), floats_of(model_.kv_width())};
}

std::span<const std::byte> Stack::output() const { return x_[slot(model_.layers, x_.size())].span(); }

void Stack::forward(const ForwardObserver& observe) {
  for (std::int64_t layer = 0; layer < model_.layers; ++layer) {
    const Stopwatch watch;
    const LayerWeights weights = layer_weights(model_, layer, workers_);
    layer_rows_.before_attention(model_.kind(layer), weights, x(layer).data(), qkv_);
    attend(layer, weights);
    layer_rows_.after_attention(weights, x(layer).data(), out(layer).data(), x(layer + 1).data());
    const LayerCost done = cost_of(layer, kernels::Direction::forward, watch.seconds());
    if (!observe) continue;
    observe({layer, weights, x(layer).data(), qkv_, out(layer).data(), lse(layer).data(), x(layer + 1).data()}, done);
  }
}

void Stack::attend(std::int64_t layer, const LayerWeights& weights) {
  const AttentionSpec& spec = model_.attention;
  const Shapes shapes{spec, rows_};
  ring_of(layer).forward({.q = shapes.q(qkv_.q.data(), spec.dtype),
                 .k = shapes.kv(qkv_.k.data(), spec.dtype),
                 .v = shapes.kv(qkv_.v.data(), spec.dtype),
                 .out = shapes.q(bytes(out(layer)), DType::f32),
                 .lse = shapes.stats(lse(layer).data()),
                 .sink = weights.sink});
}

void Stack::backward(const std::function<void(const LayerCost&)>& observe) {
  ANNULUS_EXPECT(keeps_all());
  for (std::int64_t layer = model_.layers; layer-- > 0;) {
    const Stopwatch watch;
    const LayerWeights weights = layer_weights(model_, layer, workers_);
    layer_rows_.before_attention(model_.kind(layer), weights, x(layer).data(), qkv_);
    layer_rows_.after_attention_backward(weights, dx_.data(), dout_.data());
    attend_backward(layer, weights);
    layer_rows_.before_attention_backward(model_.kind(layer), weights, x(layer).data(), qkv_gradient_, dx_.data());
    const LayerCost done = cost_of(layer, kernels::Direction::backward, watch.seconds());
    if (observe) observe(done);
  }
}

void Stack::attend_backward(std::int64_t layer, const LayerWeights& weights) {
  const AttentionSpec& spec = model_.attention;
  const Shapes shapes{spec, rows_};
  ring_of(layer).backward({.q = shapes.q(qkv_.q.data(), spec.dtype),
                  .k = shapes.kv(qkv_.k.data(), spec.dtype),
                  .v = shapes.kv(qkv_.v.data(), spec.dtype),
                  .out = shapes.q(bytes(out(layer)), DType::f32),
                  .dout = shapes.q(bytes(dout_), DType::f32),
                  .lse = shapes.stats(lse(layer).data()),
                  .dq = shapes.q(bytes(qkv_gradient_.dq), DType::f32),
                  .dk = shapes.kv(bytes(qkv_gradient_.dk), DType::f32),
                  .dv = shapes.kv(bytes(qkv_gradient_.dv), DType::f32),
                  .sink = weights.sink,
                  .dsink = dsink_});
}

LayerCost Stack::cost_of(std::int64_t layer, kernels::Direction direction, double seconds) {
  const CallReport& call = ring_of(layer).last_call();
  std::array<std::uint64_t, 2> counts{call.messages, call.bytes_sent};
  std::array<double, 1> flops{call.flops};
  std::array<double, 3> times{seconds, call.seconds, call.exposed_comm_seconds};
  comm_.sum(counts);
  comm_.sum(flops);
  comm_.max(times);
  return {layer, direction, counts[0], counts[1], flops[0], times[0], times[1], times[2]};
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
