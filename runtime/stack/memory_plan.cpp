/// Sums up buffers, item by item.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/memory_plan.hpp"

#include <algorithm>

#include "runtime/checkpoint/row_runs.hpp"
#include "runtime/engine/attention_plan.hpp"
#include "runtime/engine/local_attention.hpp"
#include "runtime/stack/layer.hpp"
#include "runtime/stack/verify.hpp"

namespace annulus::stack {
namespace {
/// What MPI and BLAS touch at their first use, whatever the size of the input: 0.5 to 0.8 MiB (Open MPI 4.1, OpenBLAS 0.3.21). Points
/// of a study do not have it: they are counted above a process whose libraries have been used.
constexpr std::uint64_t library_bytes = std::uint64_t{768} << 10;
constexpr std::uint64_t window_bytes = std::uint64_t{12} << 20;  ///< two of the digest, one of reading tokens, rounded up

std::uint64_t added(std::uint64_t a, std::uint64_t b) {
  std::int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) {
    throw ResourceError("the memory of a rank does not fit 63 bits (no machine has it); try a smaller --seq-len");
  }
  return static_cast<std::uint64_t>(sum);
}

/// Bytes per row, times rows.
struct PerRow {
  const ModelSpec& model;
  std::int64_t rows;  ///< of all batches

  std::uint64_t stored(std::int64_t width, std::int64_t copies = 1) const {
    return checked_product({rows, width, copies, static_cast<std::int64_t>(size_of(model.attention.dtype))});
  }
  std::uint64_t f32(std::int64_t width, std::int64_t copies = 1) const {
    return checked_product({rows, width, copies, sizeof(float)});
  }
};

/// Rows over all layers that are kept for backward: of x, and of out and lse.
struct KeptRows {
  std::int64_t x = 0;
  std::int64_t out = 0;
};
/// x has the rows of the layer before it, then those of the layer that reads it. `held`: by layer, and the shard's behind the last.
KeptRows kept_rows(const std::vector<std::int64_t>& held, std::int64_t batch) {
  KeptRows kept;
  std::uint64_t x = static_cast<std::uint64_t>(held.front());
  std::uint64_t out = 0;
  for (std::size_t layer = 0; layer + 1 < held.size(); ++layer) {
    x = added(x, static_cast<std::uint64_t>(std::max(held[layer], held[layer + 1])));
    out = added(out, static_cast<std::uint64_t>(held[layer]));
  }
  kept.x = static_cast<std::int64_t>(checked_product({batch, static_cast<std::int64_t>(x)}));
  kept.out = static_cast<std::int64_t>(checked_product({batch, static_cast<std::int64_t>(out)}));
  return kept;
}

/// Of all threads, in every pass that a variant of layers makes: tiles of both directions stay in its pool.
std::uint64_t scratch_bytes(const LayerSpec& layer, const RunShape& run, const kernels::KernelTable& table) {
  if (table.scratch_bytes == nullptr) return 0;
  const kernels::Problem problem = make_problem(layer.attention, 0, {}, {});
  std::uint64_t bytes = table.scratch_bytes(problem, kernels::Direction::forward);
  if (run.direction == kernels::Direction::backward) bytes += table.scratch_bytes(problem, kernels::Direction::backward);
  return checked_product({run.threads, static_cast<std::int64_t>(bytes)});
}

/// Of one variant of layers: what its attention keeps from call to call, a resident one on `held` rows.
std::uint64_t ring_bytes(const LayerSpec& layer, const RunShape& run, std::int64_t held,
                         const kernels::KernelTable& table) {
  const auto bytes = [&](kernels::Direction direction) {
    if (layer.kind == LayerKind::local && run.local_halo == LocalHalo::resident) {
      return local_attention_bytes(layer.attention, held, table, direction);
    }
    return attention_bytes(layer.attention, run.layout, run.ranks, table, run.exchange, direction);
  };
  const std::uint64_t forward = bytes(kernels::Direction::forward);
  if (run.direction == kernels::Direction::forward) return forward;
  return std::max(forward, bytes(kernels::Direction::backward));
}

/// Forward, the halo of a run behind a global layer is fetched; backward, the gradients of every run's go home.
bool halo_travels(const ModelSpec& model, bool backward) {
  if (backward) return model.has(LayerKind::local);
  for (std::int64_t layer = 1; layer < model.layers; ++layer) {
    if (model.kind(layer) == LayerKind::local && model.kind(layer - 1) == LayerKind::global) return true;
  }
  return false;
}

}  // namespace

std::vector<MemoryItem> memory_plan(const ModelSpec& model, const RunShape& run, const kernels::KernelTable& table) {
  check(model);
  const AttentionSpec& shape = model.attention;
  const bool backward = run.direction == kernels::Direction::backward;
  const Layout layout(run.layout.kind, shape.seq_q, run.ranks, run.layout.stripe);
  const std::vector<std::int64_t> by_layer = held_rows_by_layer(model, run.layout, run.ranks, run.local_halo);
  const std::int64_t held = std::ranges::max(by_layer);
  const auto rows = static_cast<std::int64_t>(checked_product({shape.batch, held}));
  const PerRow per_row{model, rows};
  const KeptRows kept = backward ? kept_rows(by_layer, shape.batch) : KeptRows{static_cast<std::int64_t>(checked_product({rows, 2})), rows};
  const auto scratch = static_cast<std::int64_t>(LayerRows::scratch_bytes(model, rows));
  const std::uint64_t list = layout.row_set(0).list_bytes();  // of the rows of the stack, and of those who verify
  std::uint64_t rings = 0;
  std::uint64_t tiles = 0;
  const LayerVariants variants(model);
  for (const LayerSpec& layer : variants.specs()) {
    rings = added(rings, ring_bytes(layer, run, held, table));
    tiles = added(tiles, scratch_bytes(layer, run, table));
  }
  std::vector<MemoryItem> plan{
      {"activations x", PerRow{model, kept.x}.stored(model.width())},
      {"q, k, v", per_row.stored(model.qkv_width())},
      {"attention out (f32)", PerRow{model, kept.out}.f32(model.width())},
      {"attention lse (f32)", PerRow{model, kept.out}.f32(shape.heads)},
      {"rings: blocks, carries, masks", rings},
      {"weights of one layer (f32)", layer_weight_bytes(model)},
      {"row blocks of the threads", checked_product({scratch, run.threads})},
      {"tiles of the threads", tiles},
      {"lists of rows", list},
      {"windows of files and digest",
       (run.file_windows ? window_bytes : 0) + (run.tensor_files ? static_cast<std::uint64_t>(staging_bytes) : 0)},
      {"MPI and BLAS, about", run.process ? library_bytes : 0},
  };
  if (run.tokens) plan.push_back({"embeddings of tokens (f32)", checked_product({vocabulary, model.width(), sizeof(float)})});
  if (projects_on_gpu(table.name)) {
    plan.push_back({"rows on their way to the GPU's projections", DeviceProjection::host_bytes(DeviceProjection::sizes(model))});
  }
  const std::int64_t halo = shape.batch * (held - layout.max_rows());  // staged to send and to receive
  if (halo > 0 && halo_travels(model, backward)) plan.push_back({"halo of x, in and out", 2 * PerRow{model, halo}.f32(model.width())});
  if (backward) {
    plan.push_back({"gradients of x and out (f32)", per_row.f32(model.width(), 2)});
    plan.push_back({"gradients of q, k, v (f32)", per_row.f32(model.qkv_width())});
  }
  const auto all_rows = static_cast<std::int64_t>(checked_product({shape.batch, shape.seq_q}));
  const std::int64_t samples = std::min(run.verify_rows, all_rows);
  if (samples > 0) plan.push_back({"verification", added(list, Verifier::bytes(model, held, samples, run.threads))});
  return plan;
}

std::uint64_t total_bytes(const std::vector<MemoryItem>& plan) {
  std::uint64_t total = 0;
  for (const MemoryItem& item : plan) total = added(total, item.bytes);
  return total;
}

}  // namespace annulus::stack
