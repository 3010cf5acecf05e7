/// The forward pass: keys in the outer loop, groups of 12 query rows in the inner one, O, m and l resident in f32.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "kernels/base/buffer.hpp"
#include "kernels/simd/pack.hpp"
#include "kernels/simd/passes.hpp"
#include "kernels/simd/scores.hpp"

namespace annulus::kernels::simd {
namespace {

/// What a worker needs beside the carries.
struct Scratch {
  Buffer<float> scores;  ///< [12][score_stride]
  Buffer<float> k;       ///< a key tile widened to f32; unused where packed blocks are tiles
  Buffer<float> v;
};

struct KeyTile {
  RowSpan keys;
  const float* k;
  const float* v;
};

class SimdForward final : public ForwardPass {
 public:
  SimdForward(const TileOps& ops, const Problem& problem, const ConstTensorView& q, Resources resources);
  void attend(const Block& block, const VisibleRows& visible, const Progress& progress) override;
  void finish(const TensorView& out, const RowStats& lse) override;

 private:
  struct Chunk {
    std::int64_t b;
    std::int64_t head;
    std::int64_t first;  ///< groups [first, last)
    std::int64_t last;
  };
  std::int64_t chunks_per_head() const { return ceil_div(layout_.groups, chunk_groups); }
  Chunk chunk(std::int64_t task) const;
  template <class Body>
  void for_each_chunk(const Body& body);
  void pack_queries(const ConstTensorView& q, const Chunk& chunk);
  void attend_chunk(const Block& block, const GroupMask& mask, const Chunk& chunk, int worker, Pacer& pacer);
  /// Returns the number of keys it had to look at.
  std::int64_t attend_group(const Block& block, const GroupMask& mask, const Chunk& chunk, std::int64_t group,
                            const KeyTile& tile, float* scores);
  float* weight() const { return ops_.pair == 1 ? l_.data() : weight_.data(); }
  KeyTile load(const Block& block, const Chunk& chunk, RowSpan keys, const Scratch& scratch) const;
  void finish_row(const Chunk& chunk, std::int64_t row, const TensorView& out, const RowStats& lse) const;

  const TileOps& ops_;
  const Problem problem_;
  const QueryLayout layout_;
  const ScoreRule rule_;
  Workers& workers_;
  Buffer<float> q_;  ///< words [batch][heads][groups][depth][12], unscaled
  Buffer<float> o_;  ///< [batch][heads][padded_rows][width]
  Buffer<float> m_;  ///< [batch][heads][padded_rows], log2 units
  Buffer<float> l_;
  Buffer<float> weight_;  ///< l as the words of p are rounded (TileOps::softmax); with words of one element l_ serves
  std::vector<Scratch> scratch_;
};

SimdForward::SimdForward(const TileOps& ops, const Problem& problem, const ConstTensorView& q, Resources resources)
    : ops_(ops),
      problem_(problem),
      layout_(query_layout(problem, ops.pair)),
      rule_(problem_),
      workers_(resources.workers) {
  const std::int64_t rows = problem.batch * problem.heads * layout_.padded_rows();
  const auto floats = [&](std::int64_t size) { return Buffer<float>(size, resources.memory); };
  q_ = floats(rows * layout_.depth);
  o_ = floats(rows * layout_.width);
  m_ = floats(rows);
  l_ = floats(rows);
  weight_ = floats(ops.pair == 1 ? 0 : rows);
  const std::int64_t keys = in_place(ops, problem.dtype) ? 0 : forward_tile_keys(layout_.head_dim);
  for (int worker = 0; worker < workers_.size(); ++worker) {
    scratch_.push_back(
        {floats(group_rows * score_stride), floats(keys * layout_.head_dim), floats(keys * layout_.width)});
  }
  for_each_chunk([&](const Chunk& chunk, int) { pack_queries(q, chunk); });
}

SimdForward::Chunk SimdForward::chunk(std::int64_t task) const {
  const std::int64_t first = task % chunks_per_head() * chunk_groups;
  const std::int64_t head = task / chunks_per_head() % layout_.heads;
  return {task / chunks_per_head() / layout_.heads, head, first, std::min(first + chunk_groups, layout_.groups)};
}

template <class Body>
void SimdForward::for_each_chunk(const Body& body) {
  workers_.for_each(problem_.batch * layout_.heads * chunks_per_head(),
                    [&](std::int64_t task, int worker) { body(chunk(task), worker); });
}

void SimdForward::pack_queries(const ConstTensorView& q, const Chunk& chunk) {
  for (std::int64_t group = chunk.first; group < chunk.last; ++group) {
    const std::int64_t row = layout_.row_at(chunk.b, chunk.head, group);
    const TensorGroup rows{q, chunk.b, chunk.head, group * group_rows, layout_.rows_of_group(group)};
    pack_group(ops_, rows, q_.data() + row * layout_.depth);
    std::fill_n(o_.data() + row * layout_.width, group_rows * layout_.width, 0.F);
    std::fill_n(m_.data() + row, group_rows, -std::numeric_limits<float>::infinity());
    std::fill_n(l_.data() + row, group_rows, 0.F);
    std::fill_n(weight() + row, group_rows, 0.F);
  }
}

void SimdForward::attend(const Block& block, const VisibleRows& visible, const Progress& progress) {
  const GroupMask mask(visible, layout_, chunk_groups);
  Pacer pacer(progress);
  for_each_chunk([&](const Chunk& chunk, int worker) { attend_chunk(block, mask, chunk, worker, pacer); });
  if (progress) progress();  // at least once, however small the block
}

void SimdForward::attend_chunk(const Block& block, const GroupMask& mask, const Chunk& chunk, int worker,
                               Pacer& pacer) {
  const Scratch& scratch = scratch_[static_cast<std::size_t>(worker)];
  const std::int64_t step = forward_tile_keys(layout_.head_dim);
  const auto next_begin = [&](std::int64_t from) {  // tiles start at the panel where something is seen again
    return mask.next_key(chunk.first / chunk_groups, from) / panel_keys * panel_keys;
  };
  for (std::int64_t begin = next_begin(0), end = 0; begin < block.shape.rows; begin = next_begin(end)) {
    end = std::min(begin + step, block.shape.rows);
    const KeyTile tile = load(block, chunk, {begin, end}, scratch);
    for (std::int64_t group = chunk.first; group < chunk.last; ++group) {
      const std::int64_t columns = attend_group(block, mask, chunk, group, tile, scratch.scores.data());
      pacer.worked(worker, 2 * group_rows * columns * layout_.head_dim);
    }
  }
}

KeyTile SimdForward::load(const Block& block, const Chunk& chunk, RowSpan keys, const Scratch& scratch) const {
  const PackedLayout packed = packed_layout(block.shape, Direction::forward, ops_.pair);
  const std::int64_t kv_head = chunk.head / (problem_.heads / problem_.kv_heads);
  const auto element = static_cast<std::int64_t>(size_of(problem_.dtype));
  const std::byte* const k = block.packed + (packed.k_at(chunk.b, kv_head) + keys.begin * packed.depth) * element;
  const std::byte* const v = block.packed + (packed.v_at(chunk.b, kv_head) + keys.begin * layout_.width) * element;
  if (in_place(ops_, problem_.dtype)) {
    return {keys, reinterpret_cast<const float*>(k), reinterpret_cast<const float*>(v)};
  }
  const std::int64_t rows = round_up(keys.end - keys.begin, panel_keys);
  widen(ops_, problem_.dtype, k, rows * packed.depth, scratch.k.data());
  widen(ops_, problem_.dtype, v, rows * layout_.width, scratch.v.data());
  return {keys, scratch.k.data(), scratch.v.data()};
}

std::int64_t SimdForward::attend_group(const Block& block, const GroupMask& mask, const Chunk& chunk,
                                       std::int64_t group, const KeyTile& tile, float* scores) {
  const VisibleColumns columns = mask.columns(group, tile.keys);
  if (columns.empty()) return 0;
  const std::int64_t row = layout_.row_at(chunk.b, chunk.head, group);
  const std::int64_t keys = columns.end - columns.begin;
  alignas(64) float rescale[16];

  ops_.scores(q_.data() + row * layout_.depth, tile.k + columns.begin * layout_.depth, keys, layout_.depth, scores);
  if (!rule_.fused()) {
    rule_.transform(ops_, chunk.head, group, layout_.rows_of_group(group), block, tile.keys, columns, scores, nullptr);
  }
  if (columns.masked) mask.apply(group, tile.keys, columns, scores);
  ops_.softmax(scores, keys, rule_.exponent_scale(), m_.data() + row, l_.data() + row, weight() + row, rescale);
  const RowSpan seen = columns.seen;
  ops_.accumulate_rescaled(scores + (seen.begin - columns.begin) / ops_.pair, seen.end - seen.begin,
                           tile.v + seen.begin / ops_.pair * layout_.width, layout_.width, rescale,
                           o_.data() + row * layout_.width);
  return keys;
}

void SimdForward::finish(const TensorView& out, const RowStats& lse) {
  for_each_chunk([&](const Chunk& chunk, int) {
    const std::int64_t end = std::min(chunk.last * group_rows, layout_.rows);
    for (std::int64_t row = chunk.first * group_rows; row < end; ++row) finish_row(chunk, row, out, lse);
  });
}

void SimdForward::finish_row(const Chunk& chunk, std::int64_t row, const TensorView& out, const RowStats& lse) const {
  const std::int64_t at = layout_.row_at(chunk.b, chunk.head, 0) + row;
  double top = m_[at];  // the largest logit of the row, in log2 units; the sink is one of them
  double sum = l_[at];
  double divisor = weight()[at];
  double factor = 1;
  const double sink = problem_.sink.empty() ? -std::numeric_limits<double>::infinity()
                                            : problem_.sink[static_cast<std::size_t>(chunk.head)] * std::numbers::log2e;
  if (std::isfinite(sink)) {
    top = std::max(top, sink);
    factor = std::exp2(m_[at] - top);
    sum = sum * factor + std::exp2(sink - top);
    divisor = divisor * factor + std::exp2(sink - top);
  }
  const bool empty = sum == 0;
  lse.at(chunk.b, chunk.head)[row] =
      empty ? -std::numeric_limits<float>::infinity() : static_cast<float>((top + std::log2(sum)) * std::numbers::ln2);
  write_row(ops_, o_.data() + at * layout_.width, empty ? 0.F : static_cast<float>(factor / divisor), out, chunk.b, row,
            chunk.head);
}

}  // namespace

std::unique_ptr<ForwardPass> make_forward(const TileOps& ops, const Problem& problem, const ConstTensorView& q,
                                          Resources resources) {
  pass_bytes(problem, Direction::forward, ops.pair);  // throws where the products inside would wrap
  return std::make_unique<SimdForward>(ops, problem, q, resources);
}

}  // namespace annulus::kernels::simd
