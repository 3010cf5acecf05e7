/// Verification of one layer: local recomputation, and partial sums of attention over all ranks.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/verify.hpp"

#include <algorithm>
#include <cmath>

#include "runtime/comm/heartbeat.hpp"
#include "runtime/stack/merged_parts.hpp"
#include "runtime/stack/oracle.hpp"

namespace annulus::stack {
namespace {
using Row = std::vector<double>;

Row load_row(const std::byte* tensor, DType dtype, std::int64_t row, std::int64_t width) {
  Row values(static_cast<std::size_t>(width));
  with_dtype(dtype, [&](auto type) {
    const auto* from = reinterpret_cast<const decltype(type)*>(tensor) + row * width;
    std::transform(from, from + width, values.begin(), [](auto x) { return to_double(x); });
  });
  return values;
}

Row load_row(const float* tensor, std::int64_t row, std::int64_t width) {
  return load_row(reinterpret_cast<const std::byte*>(tensor), DType::f32, row, width);
}

Row rounded(DType dtype, Row row) {
  for (double& value : row) value = round_to(dtype, value);
  return row;
}
}  // namespace

Verifier::Verifier(const Communicator& comm, const ModelSpec& model, const Layout& layout, Workers& workers,
                   std::int64_t rows, std::uint64_t seed)
    : comm_(comm),
      model_(model),
      layout_(layout),
      workers_(workers),
      variants_(model),
      own_rows_(layout.row_set(comm.rank())),
      samples_(sample_rows(layout, model.attention.batch, rows, seed)) {
  for (const LayerSpec& layer : variants_.specs()) masks_.emplace_back(layer.attention.mask, layout.seq_len(), layout.seq_len());
  for (const Mask& mask : masks_) keys_.emplace_back(mask, layout, comm.rank());
  for (std::size_t i = 0; i < samples_.size(); ++i) {
    if (layout.owner(samples_[i].pos) == comm.rank()) own_.push_back(i);
  }
}

std::uint64_t Verifier::bytes(const ModelSpec& model, std::int64_t shard_rows, std::int64_t samples, int workers) {
  constexpr std::int64_t copies = 8;  // q, and three sums each as a part, merged and compared
  const std::uint64_t scores = checked_product({shard_rows, workers, sizeof(double)});
  return scores + checked_product({samples, model.width() + model.attention.heads, copies, sizeof(double)});
}

template <class Body>
void Verifier::for_each_own(const LayerView& layer, Body&& body) const {
  workers_.for_each(static_cast<std::int64_t>(own_.size()), [&](std::int64_t task, int) {
    const std::size_t sample = own_[static_cast<std::size_t>(task)];
    body(sample, samples_[sample].batch * layer.rows.rows() + layer.rows.rows_before(samples_[sample].pos));
  });
}

LayerErrors Verifier::check(const LayerView& layer) const {
  Comparison comparison(samples_.size());
  check_projections(layer, comparison);
  check_attention(layer, comparison);
  check_residual(layer, comparison);
  comm_.max(comparison.values());
  return comparison.verdict(layer.index, model_.attention.dtype, samples_);
}

void Verifier::check_projections(const LayerView& layer, Comparison& comparison) const {
  const DType dtype = model_.attention.dtype;
  const LayerSpec spec = model_.layer(layer.index);
  for_each_own(layer, [&](std::size_t sample, std::int64_t row) {
    const Row x = load_row(layer.x_in, dtype, row, model_.width());
    const QkvRow expected = project_row(spec, layer.weights, x, samples_[sample].pos);
    const auto compare = [&](Stage stage, const Buffer<std::byte>& tensor, const Row& exact) {
      const Row stored = load_row(tensor.data(), dtype, row, static_cast<std::int64_t>(exact.size()));
      comparison.add(stage, sample, {stored, exact, rounded(dtype, exact), exact});
    };
    compare(Stage::q, layer.qkv.q, expected.q);
    compare(Stage::k, layer.qkv.k, expected.k);
    compare(Stage::v, layer.qkv.v, expected.v);
  });
}

std::vector<double> Verifier::gather_queries(const LayerView& layer) const {
  const auto width = static_cast<std::size_t>(model_.width());
  Row queries(samples_.size() * width);
  for_each_own(layer, [&](std::size_t sample, std::int64_t row) {
    const Row q = load_row(layer.qkv.q.data(), model_.attention.dtype, row, model_.width());
    std::copy(q.begin(), q.end(), queries.begin() + static_cast<std::ptrdiff_t>(sample * width));
  });
  comm_.sum(queries);  // zero on all ranks but the owner: exact
  return queries;
}

/// Keys of this rank's shard alone: those of a halo are counted where they are owned.
std::vector<kernels::RowSpan> Verifier::visible_rows(const LayerView& layer, const Sample& sample) const {
  std::vector<kernels::RowSpan> own;
  keys_[variants_.of(layer.index)].append(sample.pos, own);
  if (layer.rows == own_rows_) return own;
  std::vector<kernels::RowSpan> held;
  for (const Piece& piece : own_rows_.pieces()) {
    const std::int64_t shift = layer.rows.rows_before(piece.pos) - piece.row;
    for (const kernels::RowSpan& span : own) {
      ANNULUS_EXPECT(span.step == 1);  // a stride leaves no resident halo
      held.push_back({std::max(span.begin, piece.row) + shift, std::min(span.end, piece.row + piece.rows) + shift});
    }
  }
  std::erase_if(held, [](const kernels::RowSpan& span) { return span.begin >= span.end; });
  return held;
}

void Verifier::check_attention(const LayerView& layer, Comparison& comparison) const {
  const AttentionSpec& spec = model_.attention;
  const auto heads = static_cast<std::size_t>(spec.heads);
  const auto head_dim = static_cast<std::size_t>(spec.head_dim);
  const Row queries = gather_queries(layer);
  std::vector<AttentionParts> parts(samples_.size() * heads);
  std::vector<Row> scores(static_cast<std::size_t>(workers_.size()), Row(static_cast<std::size_t>(layer.rows.rows())));
  const std::int64_t item = static_cast<std::int64_t>(size_of(spec.dtype));
  workers_.for_each(static_cast<std::int64_t>(parts.size()), [&](std::int64_t task, int worker) {
    if (worker == 0) Heartbeat::beat();
    const auto i = static_cast<std::size_t>(task);
    const Sample& sample = samples_[i / heads];
    const std::int64_t kv_head = task % spec.heads / (spec.heads / spec.kv_heads);
    const std::int64_t first = sample.batch * layer.rows.rows() * model_.kv_width() + kv_head * spec.head_dim;
    const std::vector<kernels::RowSpan> visible = visible_rows(layer, sample);
    const KeyRows keys{layer.qkv.k.data() + first * item, layer.qkv.v.data() + first * item, model_.kv_width(),
                       visible};
    const std::span q(queries.data() + i * head_dim, head_dim);
    const bool counts_sink = spec.sink && layout_.owner(sample.pos) == comm_.rank();
    const double sink = counts_sink ? static_cast<double>(layer.weights.sink[i % heads]) : no_sink;
    parts[i] = attend_part(spec, q, keys, sink, scores[static_cast<std::size_t>(worker)]);
  });
  for (std::size_t i = 0; i < parts.size(); ++i) comparison.add_score(i / heads, parts[i].largest_score);
  compare_attention(layer, MergedParts(comm_, parts, spec.head_dim), comparison);
}

void Verifier::compare_attention(const LayerView& layer, const MergedParts& merged, Comparison& comparison) const {
  const auto heads = static_cast<std::size_t>(model_.attention.heads);
  for_each_own(layer, [&](std::size_t sample, std::int64_t row) {
    const std::int64_t batch = samples_[sample].batch;
    const float* lse = layer.lse + batch * model_.attention.heads * layer.rows.rows() + (row - batch * layer.rows.rows());
    Row out, plain_out, magnitude, stored_lse, exact_lse, plain_lse;
    double weight_rounding = 0;
    for (std::size_t head = 0; head < heads; ++head, lse += layer.rows.rows()) {
      const std::size_t i = sample * heads + head;
      merged.exact_out(i, out);
      merged.plain_out(i, plain_out);
      merged.magnitude(i, magnitude);
      weight_rounding = std::max(weight_rounding, merged.weight_rounding(i));
      stored_lse.push_back(*lse);
      exact_lse.push_back(merged.exact_lse(i));
      plain_lse.push_back(merged.plain_lse(i));
    }
    comparison.add(Stage::out, sample, {load_row(layer.out, row, model_.width()), out, plain_out, magnitude, weight_rounding});
    comparison.add(Stage::lse, sample, {stored_lse, exact_lse, plain_lse, exact_lse});
  });
}

void Verifier::check_residual(const LayerView& layer, Comparison& comparison) const {
  const DType dtype = model_.attention.dtype;
  for_each_own(layer, [&](std::size_t sample, std::int64_t row) {
    const Row x = load_row(layer.x_in, dtype, row, model_.width());
    const Row expected = residual_row(model_, layer.weights, x, load_row(layer.out, row, model_.width()));
    const Row stored = load_row(layer.x_out, dtype, row, model_.width());
    comparison.add(Stage::x, sample, {stored, expected, rounded(dtype, expected), expected});
  });
}

}  // namespace annulus::stack
