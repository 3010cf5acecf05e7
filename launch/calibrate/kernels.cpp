/// Differences of whole passes: what a block more, an edge more, a row more cost.
// SPDX-License-Identifier: Apache-2.0
#include "launch/calibrate/kernels.hpp"

#include <algorithm>

#include "launch/bench/kernel.hpp"
#include "launch/samples.hpp"
#include "runtime/stack/layer.hpp"

namespace annulus::launch {
namespace {

using kernels::Direction;

constexpr std::int64_t rows = 1536;
constexpr std::int64_t heads = 2;
constexpr std::int64_t window = 256;
constexpr int steps = 8;

struct Medians {
  double attend = 0;
  double whole = 0;
};

Medians median_seconds(const KernelShape& shape, int samples) {
  KernelBench bench(shape);
  (void)bench.run();  // touches the memory
  Samples attend;
  Samples whole;
  for (int i = 0; i < samples; ++i) {
    const KernelBench::Seconds seconds = bench.run();
    attend.add(seconds.attend);
    whole.add(seconds.whole);
  }
  return {attend.median(), whole.median()};
}

/// A stack's layer as `calibrate` takes it: four heads of 64.
stack::ModelSpec small_model() {
  stack::ModelSpec model;
  model.attention.heads = model.attention.kv_heads = 4;
  model.attention.head_dim = 64;
  return model;
}

}  // namespace

forecast::KernelSpeed measure_speed(const kernels::KernelTable& table, DType dtype, std::int64_t head_dim,
                                    Direction direction, int samples) {
  KernelShape shape{.table = &table, .dtype = dtype, .rows = rows, .heads = heads, .head_dim = head_dim, .direction = direction};
  const Medians dense = median_seconds(shape, samples);
  shape.steps = steps;
  const Medians chained = median_seconds(shape, samples);
  shape.steps = 1;
  shape.mask = {.causal = true, .window_size = {window - 1, 0}};
  const Medians narrow = median_seconds(shape, samples);

  constexpr auto head_rows = static_cast<double>(rows * heads);
  const double flops_per_pair = (direction == Direction::forward ? 4.0 : 10.0) * static_cast<double>(head_dim);
  const double pair_seconds = dense.attend / (head_rows * static_cast<double>(rows));
  const double block_seconds = std::max(0.0, chained.attend - dense.attend) / (steps - 1) / head_rows;
  const double pairs = static_cast<double>(Mask(shape.mask, rows, rows).visible_pairs()) / static_cast<double>(rows);
  // Each row's keys end within the block at its right edge, and but for the first ones begin there.
  constexpr double edges = 2 - static_cast<double>(window) / rows;
  const double per_row = (narrow.attend / head_rows - block_seconds) / pair_seconds;
  return {.dtype = dtype,
          .head_dim = head_dim,
          .direction = direction,
          .flops_per_second = flops_per_pair / pair_seconds,
          .edge_keys = std::max(0.0, (per_row - pairs) / edges),
          .row_seconds = (dense.whole - dense.attend) / head_rows,
          .step_row_seconds = block_seconds};
}

RowSpeed measure_rows(int samples) {
  constexpr std::int64_t held = 1024;
  const stack::ModelSpec model = small_model();
  Workers workers(1);
  stack::LayerRows layer(model, workers);
  const RowSet positions({{0, held}});
  layer.hold(positions);
  const auto floats = [](std::int64_t width) { return Buffer<std::byte>(held * width * 4); };
  const stack::Qkv qkv{floats(model.width()), floats(model.kv_width()), floats(model.kv_width())};
  const Buffer<std::byte> x = floats(model.width());
  const Buffer<float> out(held * model.width());
  for (const Buffer<std::byte>* filled : {&x, &qkv.q}) std::fill_n(filled->data(), filled->size(), std::byte{60});
  std::fill_n(out.data(), out.size(), 0.5F);
  Samples row_seconds;
  Samples weight_seconds;
  for (int i = 0; i <= samples; ++i) {
    const double begun = thread_cpu_seconds();
    const stack::LayerWeights weights = stack::layer_weights(model, i, workers);
    const double made = thread_cpu_seconds();
    layer.before_attention(stack::LayerKind::global, weights, x.data(), qkv);
    layer.after_attention(weights, x.data(), out.data(), x.data());
    if (i == 0) continue;  // touches the memory
    weight_seconds.add(made - begun);
    row_seconds.add(thread_cpu_seconds() - made);
  }
  const auto weights = static_cast<double>(model.width() * (model.qkv_width() + model.width()));
  return {2 * static_cast<double>(held) * weights / row_seconds.median(), weights / weight_seconds.median()};
}

}  // namespace annulus::launch
