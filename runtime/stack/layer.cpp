/// Row blocks of a layer: norm, projections, rotation and residual.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/layer.hpp"

#include <algorithm>

#include "runtime/comm/heartbeat.hpp"
#include "runtime/stack/projection.hpp"
#include "runtime/stack/rms_norm.hpp"
#include "runtime/stack/rows.hpp"

namespace annulus::stack {
namespace {
/// Columns [begin, begin + width) of q, k or v in a row of the fused projection.
struct Columns {
  std::int64_t begin;
  std::int64_t width;
};
struct QkvColumns {
  explicit QkvColumns(const ModelSpec& model)
      : q{0, model.width()},
        k{model.width(), model.kv_width()},
        v{model.width() + model.kv_width(), model.kv_width()},
        all(model.qkv_width()) {}
  Columns q;
  Columns k;
  Columns v;
  std::int64_t all;
};

/// Scatters columns of the fused rows to a dense tensor in `dtype`.
void store_columns(const float* fused, std::int64_t stride, Columns columns, std::int64_t first, std::int64_t count,
                   DType dtype, std::byte* tensor) {
  for (std::int64_t row = 0; row < count; ++row) {
    store(fused + row * stride + columns.begin, tensor, dtype, (first + row) * columns.width, columns.width);
  }
}

void load_columns(const float* tensor, std::int64_t first, std::int64_t count, std::int64_t stride, Columns columns,
                  float* fused) {
  for (std::int64_t row = 0; row < count; ++row) {
    std::copy_n(tensor + (first + row) * columns.width, columns.width, fused + row * stride + columns.begin);
  }
}
}  // namespace

LayerRows::LayerRows(const ModelSpec& model, Workers& workers)
    : model_(model),
      workers_(workers),
      global_rope_(model.rope, model.attention.head_dim),
      local_rope_(model.local_rope, model.attention.head_dim) {
  for (int worker = 0; worker < workers.size(); ++worker) {
    scratch_.push_back({Buffer<float>(block_rows * model.width()), Buffer<float>(block_rows * model.qkv_width()),
                        Buffer<float>(2 * global_rope_.half())});
  }
}

std::uint64_t LayerRows::scratch_bytes(const ModelSpec& model) {
  return checked_product({block_rows, model.width() + model.qkv_width(), sizeof(float)});
}

void LayerRows::for_each_block(const std::function<void(std::int64_t, std::int64_t, Scratch&)>& body) {
  workers_.for_each(ceil_div(rows(), block_rows), [&](std::int64_t block, int worker) {
    if (worker == 0) Heartbeat::beat();
    const std::int64_t first = block * block_rows;
    body(first, std::min(block_rows, rows() - first), scratch_[static_cast<std::size_t>(worker)]);
  });
}

void LayerRows::rotate_heads(const Rope& rope, std::int64_t first, std::int64_t count, Turn turn,
                             Scratch& scratch) const {
  const std::int64_t rotated = model_.attention.heads + model_.attention.kv_heads;  // q's heads, then k's
  float* cosines = scratch.angles.data();
  float* sines = cosines + rope.half();
  for (std::int64_t row = 0; row < count; ++row) {
    rope.angles(held_->position((first + row) % held_->rows()), cosines, sines);
    if (turn == Turn::backward) std::transform(sines, sines + rope.half(), sines, std::negate<>{});
    float* fused = scratch.qkv.data() + row * model_.qkv_width();
    for (std::int64_t head = 0; head < rotated; ++head) {
      rotate(fused + head * model_.attention.head_dim, rope.half(), cosines, sines);
    }
  }
}

void LayerRows::before_attention(LayerKind kind, const LayerWeights& weights, const std::byte* x, const Qkv& qkv) {
  const std::int64_t width = model_.width();
  const DType dtype = model_.attention.dtype;
  const QkvColumns columns(model_);
  for_each_block([&](std::int64_t first, std::int64_t count, Scratch& scratch) {
    float* n = scratch.wide.data();
    float* fused = scratch.qkv.data();
    load(x, dtype, first * width, count * width, n);
    rms_norm(n, count, width, n);
    project(count, width, columns.all, n, weights.qkv.data(), fused);
    rotate_heads(rope(kind), first, count, Turn::forward, scratch);
    store_columns(fused, columns.all, columns.q, first, count, dtype, qkv.q.data());
    store_columns(fused, columns.all, columns.k, first, count, dtype, qkv.k.data());
    store_columns(fused, columns.all, columns.v, first, count, dtype, qkv.v.data());
  });
}

void LayerRows::after_attention(const LayerWeights& weights, const std::byte* x_in, const float* out,
                                std::byte* x_out) {
  const std::int64_t width = model_.width();
  const auto kept = static_cast<float>(model_.kept());
  const auto added = static_cast<float>(model_.added());
  const DType dtype = model_.attention.dtype;
  for_each_block([&](std::int64_t first, std::int64_t count, Scratch& scratch) {
    float* x = scratch.wide.data();
    const float* update = scratch.qkv.data();
    load(x_in, dtype, first * width, count * width, x);
    project(count, width, width, out + first * width, weights.out.data(), scratch.qkv.data());
    for (std::int64_t i = 0; i < count * width; ++i) x[i] = kept * x[i] + added * update[i];
    store(x, x_out, dtype, first * width, count * width);
  });
}

void LayerRows::after_attention_backward(const LayerWeights& weights, const float* dx, float* dout) {
  const std::int64_t width = model_.width();
  const auto added = static_cast<float>(model_.added());
  for_each_block([&](std::int64_t first, std::int64_t count, Scratch&) {
    float* rows = dout + first * width;
    project_backward(count, width, width, dx + first * width, weights.out.data(), rows);
    for (std::int64_t i = 0; i < count * width; ++i) rows[i] *= added;
  });
}

void LayerRows::before_attention_backward(LayerKind kind, const LayerWeights& weights, const std::byte* x_in,
                                          const QkvGradient& gradient, float* dx) {
  const std::int64_t width = model_.width();
  const auto kept = static_cast<float>(model_.kept());
  const QkvColumns columns(model_);
  for_each_block([&](std::int64_t first, std::int64_t count, Scratch& scratch) {
    float* fused = scratch.qkv.data();
    load_columns(gradient.dq.data(), first, count, columns.all, columns.q, fused);
    load_columns(gradient.dk.data(), first, count, columns.all, columns.k, fused);
    load_columns(gradient.dv.data(), first, count, columns.all, columns.v, fused);
    rotate_heads(rope(kind), first, count, Turn::backward, scratch);
    float* dn = scratch.wide.data();
    project_backward(count, width, columns.all, fused, weights.qkv.data(), dn);
    float* x = fused;  // the fused gradients are spent
    load(x_in, model_.attention.dtype, first * width, count * width, x);
    float* rows = dx + first * width;
    for (std::int64_t i = 0; i < count * width; ++i) rows[i] *= kept;
    rms_norm_backward(x, dn, count, width, rows);
  });
}

}  // namespace annulus::stack
