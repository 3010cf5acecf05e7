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

LayerRows::LayerRows(const ModelSpec& model, Workers& workers, std::int64_t most_rows)
    : model_(model),
      workers_(workers),
      global_rope_(model.rope, model.attention.head_dim),
      local_rope_(model.local_rope, model.attention.head_dim) {
  const std::int64_t rows = std::min(block_rows, most_rows);
  for (int worker = 0; worker < workers.size(); ++worker) {
    scratch_.push_back({Buffer<float>(rows * model.width()), Buffer<float>(rows * model.qkv_width()),
                        Buffer<float>(2 * global_rope_.half())});
  }
}

std::uint64_t LayerRows::scratch_bytes(const ModelSpec& model, std::int64_t most_rows) {
  return checked_product({std::min(block_rows, most_rows), model.width() + model.qkv_width(), sizeof(float)});
}

void LayerRows::for_each_block(Block rows, const std::function<void(Block, Scratch&)>& body) {
  workers_.for_each(ceil_div(rows.count, block_rows), [&](std::int64_t block, int worker) {
    if (worker == 0) Heartbeat::beat();
    const std::int64_t first = block * block_rows;
    body({rows.first + first, std::min(block_rows, rows.count - first)}, scratch_[static_cast<std::size_t>(worker)]);
  });
}

void LayerRows::project_rows(const Projection& projection, const Before& before, const After& after) {
  if (device_ != nullptr) return project_rows_on_device(projection, before, after);
  const bool forward = projection.way == Way::forward;
  for_each_block({0, rows()}, [&](Block block, Scratch& scratch) {
    float* const read = (forward ? scratch.wide : scratch.qkv).data();
    float* const written = (forward ? scratch.qkv : scratch.wide).data();
    project(projection, block.count, before(block, scratch, read), written);
    after(block, scratch, written);
  });
}

/// The rows of a piece are dense wherever `before` leaves them: those of its first block tell where.
void LayerRows::project_rows_on_device(const Projection& projection, const Before& before, const After& after) {
  const auto fill = [&](std::int64_t first, std::int64_t count, float* room) {
    const float* piece = nullptr;
    for_each_block({first, count}, [&](Block block, Scratch& scratch) {
      const float* const rows = before(block, scratch, room + (block.first - first) * projection.from());
      if (block.first == first) piece = rows;
    });
    return piece;
  };
  const auto take = [&](std::int64_t first, std::int64_t count, float* result) {
    for_each_block({first, count}, [&](Block block, Scratch& scratch) {
      after(block, scratch, result + (block.first - first) * projection.to());
    });
  };
  device_->run(projection, rows(), fill, take);
}

void LayerRows::rotate_heads(const Rope& rope, Block rows, Way way, float* fused, float* angles) const {
  const std::int64_t rotated = model_.attention.heads + model_.attention.kv_heads;  // q's heads, then k's
  float* cosines = angles;
  float* sines = cosines + rope.half();
  for (std::int64_t row = 0; row < rows.count; ++row, fused += model_.qkv_width()) {
    rope.angles(held_->position((rows.first + row) % held_->rows()), cosines, sines);
    if (way == Way::backward) std::transform(sines, sines + rope.half(), sines, std::negate<>{});
    for (std::int64_t head = 0; head < rotated; ++head) {
      rotate(fused + head * model_.attention.head_dim, rope.half(), cosines, sines);
    }
  }
}

void LayerRows::before_attention(LayerKind kind, const LayerWeights& weights, const std::byte* x, const Qkv& qkv) {
  const std::int64_t width = model_.width();
  const DType dtype = model_.attention.dtype;
  const QkvColumns columns(model_);
  const auto before = [&](Block block, Scratch&, float* n) {
    load(x, dtype, block.first * width, block.count * width, n);
    rms_norm(n, block.count, width, n);
    return n;
  };
  const auto after = [&](Block block, Scratch& scratch, float* fused) {
    rotate_heads(rope(kind), block, Way::forward, fused, scratch.angles.data());
    store_columns(fused, columns.all, columns.q, block.first, block.count, dtype, qkv.q.data());
    store_columns(fused, columns.all, columns.k, block.first, block.count, dtype, qkv.k.data());
    store_columns(fused, columns.all, columns.v, block.first, block.count, dtype, qkv.v.data());
  };
  project_rows(qkv_projection(weights, Way::forward), before, after);
}

void LayerRows::after_attention(const LayerWeights& weights, const std::byte* x_in, const float* out,
                                std::byte* x_out) {
  const std::int64_t width = model_.width();
  const auto kept = static_cast<float>(model_.kept());
  const auto added = static_cast<float>(model_.added());
  const DType dtype = model_.attention.dtype;
  const auto before = [&](Block block, Scratch&, float*) { return out + block.first * width; };
  const auto after = [&](Block block, Scratch& scratch, const float* update) {
    float* x = scratch.wide.data();
    load(x_in, dtype, block.first * width, block.count * width, x);
    for (std::int64_t i = 0; i < block.count * width; ++i) x[i] = kept * x[i] + added * update[i];
    store(x, x_out, dtype, block.first * width, block.count * width);
  };
  project_rows(out_projection(weights, Way::forward), before, after);
}

void LayerRows::after_attention_backward(const LayerWeights& weights, const float* dx, float* dout) {
  const std::int64_t width = model_.width();
  const auto added = static_cast<float>(model_.added());
  const auto before = [&](Block block, Scratch&, float*) { return dx + block.first * width; };
  const auto after = [&](Block block, Scratch&, const float* gradient) {
    float* rows = dout + block.first * width;
    for (std::int64_t i = 0; i < block.count * width; ++i) rows[i] = gradient[i] * added;
  };
  project_rows(out_projection(weights, Way::backward), before, after);
}

void LayerRows::before_attention_backward(LayerKind kind, const LayerWeights& weights, const std::byte* x_in,
                                          const QkvGradient& gradient, float* dx) {
  const std::int64_t width = model_.width();
  const auto kept = static_cast<float>(model_.kept());
  const QkvColumns columns(model_);
  const auto before = [&](Block block, Scratch& scratch, float* fused) {
    load_columns(gradient.dq.data(), block.first, block.count, columns.all, columns.q, fused);
    load_columns(gradient.dk.data(), block.first, block.count, columns.all, columns.k, fused);
    load_columns(gradient.dv.data(), block.first, block.count, columns.all, columns.v, fused);
    rotate_heads(rope(kind), block, Way::backward, fused, scratch.angles.data());
    return fused;
  };
  const auto after = [&](Block block, Scratch& scratch, const float* dn) {
    float* x = scratch.qkv.data();  // the fused gradients are spent
    load(x_in, model_.attention.dtype, block.first * width, block.count * width, x);
    float* rows = dx + block.first * width;
    for (std::int64_t i = 0; i < block.count * width; ++i) rows[i] *= kept;
    rms_norm_backward(x, dn, block.count, width, rows);
  };
  project_rows(qkv_projection(weights, Way::backward), before, after);
}

}  // namespace annulus::stack
