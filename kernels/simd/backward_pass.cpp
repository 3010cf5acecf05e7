/// The backward pass: one task per key tile, whose dK and dV stay with the worker; dQ is added in the order of the
/// tiles.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <numbers>
#include <thread>
#include <vector>

#include "kernels/base/buffer.hpp"
#include "kernels/simd/pack.hpp"
#include "kernels/simd/passes.hpp"
#include "kernels/simd/scores.hpp"

namespace annulus::kernels::simd {
namespace {

constexpr std::int64_t max_tile_groups = query_tile_groups(1);

/// What a worker needs beside the carries.
struct Scratch {
  Buffer<float> p;              ///< scores, then p: [query tile rows][score_stride]
  Buffer<float> ds;             ///< dout.v, then ds: likewise
  Buffer<float> ds_along_keys;  ///< with words of two elements: ds once more, as dQ wants it
  Buffer<float> slope;          ///< [12][score_stride] with a softcap
  Buffer<float> k;              ///< key tile widened to f32, in panels; unused where packed blocks are tiles
  Buffer<float> v;
  Buffer<float> k_rows;  ///< key tile as words along the keys [keys / pair][width]
  Buffer<float> dk;      ///< [keys][width]
  Buffer<float> dv;
};

/// The keys of one task.
struct KeyTile {
  std::int64_t b;
  std::int64_t kv_head;
  std::int64_t index;
  RowSpan keys;
  const float* k = nullptr;  ///< panels
  const float* v = nullptr;
};

/// Some groups of one head that meet a key tile together.
struct QueryTile {
  std::int64_t head;
  std::int64_t first;  ///< group
  std::int64_t groups;
  std::int64_t row;  ///< in arrays [batch][heads][padded_rows]
  std::array<VisibleColumns, max_tile_groups> columns;
};

/// The smallest range of groups of the tile that holds all who see some of `columns`.
RowSpan groups_that_see(const QueryTile& queries, RowSpan columns) {
  const auto sees = [&](std::int64_t i) {
    const RowSpan& seen = queries.columns[static_cast<std::size_t>(i)].seen;
    return seen.begin < columns.end && columns.begin < seen.end;
  };
  RowSpan groups{0, queries.groups};
  while (groups.begin < groups.end && !sees(groups.begin)) ++groups.begin;
  while (groups.begin < groups.end && !sees(groups.end - 1)) --groups.end;
  return groups;
}

/// Zeros p and ds on those of `columns` where a group computed nothing.
void clear_unseen(const QueryTile& queries, RowSpan columns, const Scratch& scratch) {
  for (std::int64_t i = 0; i < queries.groups; ++i) {
    const VisibleColumns& seen = queries.columns[static_cast<std::size_t>(i)];
    const std::int64_t left_end = seen.empty() ? columns.end : seen.begin;
    const std::int64_t right_begin = std::max(seen.end, left_end);
    for (std::int64_t r = i * group_rows; r < (i + 1) * group_rows; ++r) {
      for (float* const row : {scratch.p.data() + r * score_stride, scratch.ds.data() + r * score_stride}) {
        if (columns.begin < left_end) std::fill(row + columns.begin, row + left_end, 0.F);
        if (right_begin < columns.end) std::fill(row + right_begin, row + columns.end, 0.F);
      }
    }
  }
}

/// In double, in eight sums that the processor adds to side by side; `width` is a multiple of 16.
double dot(const float* a, const float* b, std::int64_t width) {
  std::array<double, 8> sums{};
  for (std::int64_t i = 0; i < width; i += 8) {
    for (std::size_t j = 0; j < 8; ++j) {
      const auto at = i + static_cast<std::int64_t>(j);
      sums[j] += static_cast<double>(a[at]) * b[at];
    }
  }
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

class SimdBackward final : public BackwardPass {
 public:
  SimdBackward(const TileOps& ops, const Problem& problem, const BackwardInputs& inputs, Resources resources);
  void attend_part(const Block& block, const VisibleRows& visible, RowSpan part, std::byte* gradient,
                   const Progress& progress) override;
  void finish(const TensorView& dq, std::span<double> dsink) override;

 private:
  struct Job {  // what all tasks of one attend share
    const Block& block;
    const GroupMask& mask;
    float* gradient;
    Pacer& pacer;
  };
  std::int64_t rows_in_all() const { return problem_.batch * problem_.heads * layout_.padded_rows(); }
  float* ds_along_keys(const Scratch& scratch) const {
    return ops_.pair == 1 ? scratch.ds.data() : scratch.ds_along_keys.data();
  }
  std::int64_t query_tiles() const { return ceil_div(layout_.groups, query_tile_groups(layout_.head_dim)); }
  void allocate(BufferPool& memory);
  void prepare_group(std::int64_t b, std::int64_t head, std::int64_t group);
  void prepare_rows(std::int64_t b, std::int64_t head, std::int64_t group, const float* out, const float* dout);

  std::int64_t next_key_tile(const GroupMask& mask, std::int64_t query_tile, std::int64_t from) const;
  KeyTile key_tile(const Block& block, RowSpan part, std::int64_t task) const;
  void load(const Block& block, KeyTile& tile, const Scratch& scratch) const;
  void attend_key_tile(const Job& job, KeyTile tile, int worker);
  bool attend_query_tile(const Job& job, const KeyTile& tile, QueryTile& queries, int worker);
  void meet_keys(const Job& job, const KeyTile& tile, const QueryTile& queries, int worker);
  bool find_columns(const Job& job, const KeyTile& tile, QueryTile& queries) const;
  void compute_ds(const Job& job, const KeyTile& tile, const QueryTile& queries, std::int64_t index,
                  const Scratch& scratch) const;
  void add_to_keys(const QueryTile& queries, RowSpan columns, const Scratch& scratch) const;
  void add_to_queries(const QueryTile& queries, const Scratch& scratch) const;
  bool wait_for_turn(const Job& job, const std::atomic<std::int64_t>& turn, std::int64_t index, int worker) const;
  void write_gradient(const Job& job, const KeyTile& tile, const Scratch& scratch) const;
  double dsink(std::int64_t head) const;

  const TileOps& ops_;
  const Problem problem_;
  const BackwardInputs inputs_;
  const QueryLayout layout_;
  const ScoreRule rule_;
  Workers& workers_;
  Buffer<float> q_;          ///< words [batch][heads][groups][depth][12]
  Buffer<float> dout_;       ///< likewise
  Buffer<float> q_rows_;     ///< words along the rows [batch][heads][padded_rows / pair][width]
  Buffer<float> dout_rows_;  ///< likewise
  Buffer<float> dq_;         ///< [batch][heads][padded_rows][width]; lacks softmax_scale until finish
  Buffer<float> lse2_;       ///< lse in log2 units; +infinity for rows without keys, so that their p is 0
  Buffer<float> delta_;      ///< dout.out
  std::vector<std::atomic<std::int64_t>> turns_;  ///< per (batch, head, query tile): the key tile that adds to dq next
  std::vector<Scratch> scratch_;
};

SimdBackward::SimdBackward(const TileOps& ops, const Problem& problem, const BackwardInputs& inputs,
                           Resources resources)
    : ops_(ops),
      problem_(problem),
      inputs_(inputs),
      layout_(query_layout(problem, ops.pair)),
      rule_(problem_),
      workers_(resources.workers),
      turns_(static_cast<std::size_t>(problem.batch * problem.heads * query_tiles())) {
  allocate(resources.memory);
  workers_.for_each(problem_.batch * problem_.heads, [&](std::int64_t task, int) {
    for (std::int64_t group = 0; group < layout_.groups; ++group) {
      prepare_group(task / problem_.heads, task % problem_.heads, group);
    }
  });
}

void SimdBackward::allocate(BufferPool& memory) {
  const auto floats = [&](std::int64_t size) { return Buffer<float>(size, memory); };
  for (Buffer<float>* packed : {&q_, &dout_}) *packed = floats(rows_in_all() * layout_.depth);
  for (Buffer<float>* words : {&q_rows_, &dout_rows_}) *words = floats(rows_in_all() / ops_.pair * layout_.width);
  dq_ = floats(rows_in_all() * layout_.width);
  for (Buffer<float>* row_values : {&lse2_, &delta_}) *row_values = floats(rows_in_all());
  const std::int64_t keys = backward_tile_keys(layout_.head_dim);
  const std::int64_t widened = in_place(ops_, problem_.dtype) ? 0 : keys * layout_.head_dim;
  const std::int64_t tile = query_tile_groups(layout_.head_dim) * group_rows * score_stride;
  for (int worker = 0; worker < workers_.size(); ++worker) {
    Scratch scratch;
    scratch.p = floats(tile);
    scratch.ds = floats(tile);
    scratch.ds_along_keys = floats(ops_.pair == 1 ? 0 : tile);
    scratch.slope = floats(rule_.has_slope() ? group_rows * score_stride : 0);
    for (Buffer<float>* panels : {&scratch.k, &scratch.v}) *panels = floats(widened);
    for (Buffer<float>* rows : {&scratch.k_rows, &scratch.dk, &scratch.dv}) *rows = floats(keys * layout_.width);
    scratch_.push_back(std::move(scratch));
  }
}

void SimdBackward::prepare_group(std::int64_t b, std::int64_t head, std::int64_t group) {
  alignas(buffer_alignment) std::array<float, group_rows * widest_row> out;
  alignas(buffer_alignment) std::array<float, group_rows * widest_row> dout;
  const std::int64_t row = layout_.row_at(b, head, group);
  const auto rows_of = [&](const ConstTensorView& view) {
    return TensorGroup{view, b, head, group * group_rows, layout_.rows_of_group(group)};
  };
  const auto pack = [&](const ConstTensorView& view, const Buffer<float>& packed, const Buffer<float>& along_rows) {
    pack_group(ops_, rows_of(view), packed.data() + row * layout_.depth);
    words_of_group(ops_, rows_of(view), layout_.width, along_rows.data() + row / ops_.pair * layout_.width);
  };
  pack(inputs_.q, q_, q_rows_);
  pack(inputs_.dout, dout_, dout_rows_);
  widen_group(ops_, rows_of(inputs_.out), layout_.width, out.data());
  widen_group(ops_, rows_of(inputs_.dout), layout_.width, dout.data());
  prepare_rows(b, head, group, out.data(), dout.data());
  std::fill_n(dq_.data() + row * layout_.width, group_rows * layout_.width, 0.F);
}

void SimdBackward::prepare_rows(std::int64_t b, std::int64_t head, std::int64_t group, const float* out,
                                const float* dout) {
  const std::int64_t at = layout_.row_at(b, head, group);
  for (std::int64_t r = 0; r < group_rows; ++r) {
    delta_[at + r] = static_cast<float>(dot(out + r * layout_.width, dout + r * layout_.width, layout_.width));
    const bool inside = r < layout_.rows_of_group(group);
    const float lse =
        inside ? inputs_.lse.at(b, head)[group * group_rows + r] : -std::numeric_limits<float>::infinity();
    lse2_[at + r] =
        lse == -std::numeric_limits<float>::infinity() ? -lse : static_cast<float>(lse * std::numbers::log2e);
  }
}

void SimdBackward::attend_part(const Block& block, const VisibleRows& visible, RowSpan part, std::byte* gradient,
                               const Progress& progress) {
  const GroupMask mask(visible, layout_, query_tile_groups(layout_.head_dim));
  Pacer pacer(progress);
  const Job job{block, mask, reinterpret_cast<float*>(gradient), pacer};
  for (std::size_t i = 0; part.begin == 0 && i < turns_.size(); ++i) {
    turns_[i].store(next_key_tile(mask, static_cast<std::int64_t>(i) % query_tiles(), 0), std::memory_order_relaxed);
  }
  const std::int64_t tiles = ceil_div(part.end - part.begin, backward_tile_keys(layout_.head_dim));
  workers_.for_each(problem_.batch * problem_.kv_heads * tiles,
                    [&](std::int64_t task, int worker) { attend_key_tile(job, key_tile(block, part, task), worker); });
  if (progress) progress();  // at least once, however small the block
}

/// The first key tile that a query tile reaches from key `from` on.
std::int64_t SimdBackward::next_key_tile(const GroupMask& mask, std::int64_t query_tile, std::int64_t from) const {
  return mask.next_key(query_tile, from) / backward_tile_keys(layout_.head_dim);
}

KeyTile SimdBackward::key_tile(const Block& block, RowSpan part, std::int64_t task) const {
  const std::int64_t step = backward_tile_keys(layout_.head_dim);
  const std::int64_t tiles = ceil_div(part.end - part.begin, step);
  const std::int64_t index = part.begin / step + task % tiles;
  const RowSpan keys{index * step, std::min((index + 1) * step, block.shape.rows)};
  return {task / tiles / problem_.kv_heads, task / tiles % problem_.kv_heads, index, keys};
}

void SimdBackward::load(const Block& block, KeyTile& tile, const Scratch& scratch) const {
  const PackedLayout packed = packed_layout(block.shape, Direction::backward, ops_.pair);
  const auto element = static_cast<std::int64_t>(size_of(problem_.dtype));
  const std::int64_t first = tile.keys.begin * packed.depth;
  const std::byte* const k = block.packed + (packed.k_at(tile.b, tile.kv_head) + first) * element;
  const std::byte* const v = block.packed + (packed.v_at(tile.b, tile.kv_head) + first) * element;
  const std::int64_t rows = round_up(tile.keys.end - tile.keys.begin, panel_keys);
  if (in_place(ops_, problem_.dtype)) {
    tile.k = reinterpret_cast<const float*>(k);
    tile.v = reinterpret_cast<const float*>(v);
  } else {
    widen(ops_, problem_.dtype, k, rows * packed.depth, scratch.k.data());
    widen(ops_, problem_.dtype, v, rows * packed.depth, scratch.v.data());
    tile.k = scratch.k.data();
    tile.v = scratch.v.data();
  }
  if (layout_.head_dim < layout_.width) scratch.k_rows.clear();
  for (std::int64_t row = 0; row < rows; row += panel_keys) {
    rows_of_panel(ops_.pair, tile.k + row * layout_.depth, layout_.depth,
                  scratch.k_rows.data() + row / ops_.pair * layout_.width, layout_.width);
  }
}

void SimdBackward::attend_key_tile(const Job& job, KeyTile tile, int worker) {
  const Scratch& scratch = scratch_[static_cast<std::size_t>(worker)];
  scratch.dk.clear();
  scratch.dv.clear();
  const std::int64_t heads = problem_.heads / problem_.kv_heads;
  const std::int64_t step = query_tile_groups(layout_.head_dim);
  for (std::int64_t head = tile.kv_head * heads; head < (tile.kv_head + 1) * heads; ++head) {
    for (std::int64_t query_tile = 0; query_tile < query_tiles(); ++query_tile) {
      if (!job.mask.reaches(query_tile, tile.keys)) continue;
      if (tile.k == nullptr) load(job.block, tile, scratch);
      const std::int64_t first = query_tile * step;
      QueryTile queries{head, first, std::min(step, layout_.groups - first), layout_.row_at(tile.b, head, first), {}};
      if (!attend_query_tile(job, tile, queries, worker)) return;
    }
  }
  write_gradient(job, tile, scratch);
}

/// False if another worker has failed: the caller leaves.
bool SimdBackward::attend_query_tile(const Job& job, const KeyTile& tile, QueryTile& queries, int worker) {
  const Scratch& scratch = scratch_[static_cast<std::size_t>(worker)];
  const std::int64_t query_tile = queries.first / query_tile_groups(layout_.head_dim);
  const std::int64_t at = (tile.b * problem_.heads + queries.head) * query_tiles() + query_tile;
  std::atomic<std::int64_t>& turn = turns_[static_cast<std::size_t>(at)];
  const bool visible = find_columns(job, tile, queries);
  if (visible) meet_keys(job, tile, queries, worker);
  if (!wait_for_turn(job, turn, tile.index, worker)) return false;
  if (visible) add_to_queries(queries, scratch);
  turn.store(next_key_tile(job.mask, query_tile, tile.keys.end), std::memory_order_release);
  return true;
}

/// p, ds and their shares of dK and dV; ds stays in the scratch for dQ.
void SimdBackward::meet_keys(const Job& job, const KeyTile& tile, const QueryTile& queries, int worker) {
  const Scratch& scratch = scratch_[static_cast<std::size_t>(worker)];
  RowSpan hull{score_stride, 0};
  std::int64_t pairs = 0;
  for (std::int64_t i = 0; i < queries.groups; ++i) {
    const VisibleColumns& columns = queries.columns[static_cast<std::size_t>(i)];
    if (columns.empty()) continue;
    hull = {std::min(hull.begin, columns.begin), std::max(hull.end, columns.end)};
    pairs += group_rows * (columns.end - columns.begin);
    compute_ds(job, tile, queries, i, scratch);
  }
  job.pacer.worked(worker, 2 * pairs * layout_.head_dim);
  add_to_keys(queries, hull, scratch);
  job.pacer.worked(worker, 3 * pairs * layout_.head_dim);  // with dQ, which follows
}

bool SimdBackward::find_columns(const Job& job, const KeyTile& tile, QueryTile& queries) const {
  bool any = false;
  for (std::int64_t i = 0; i < queries.groups; ++i) {
    VisibleColumns& columns = queries.columns[static_cast<std::size_t>(i)];
    columns = job.mask.columns(queries.first + i, tile.keys);
    any = any || !columns.empty();
  }
  return any;
}

/// p and ds of one group, on the columns that it sees.
void SimdBackward::compute_ds(const Job& job, const KeyTile& tile, const QueryTile& queries, std::int64_t index,
                              const Scratch& scratch) const {
  const VisibleColumns& columns = queries.columns[static_cast<std::size_t>(index)];
  const std::int64_t group = queries.first + index;
  const std::int64_t row = queries.row + index * group_rows;
  const std::int64_t keys = columns.end - columns.begin;
  const std::int64_t at = index * group_rows * score_stride + columns.begin;
  float* const p = scratch.p.data() + at;
  float* const ds = scratch.ds.data() + at;
  float* const slope = rule_.has_slope() ? scratch.slope.data() : nullptr;
  const std::int64_t panels = columns.begin * layout_.depth;

  ops_.scores(q_.data() + row * layout_.depth, tile.k + panels, keys, layout_.depth, p);
  ops_.scores(dout_.data() + row * layout_.depth, tile.v + panels, keys, layout_.depth, ds);
  if (!rule_.fused()) {
    rule_.transform(ops_, queries.head, group, layout_.rows_of_group(group), job.block, tile.keys, columns, p, slope);
  }
  if (columns.masked) job.mask.apply(group, tile.keys, columns, p);
  ops_.gradients(p, ds, ds_along_keys(scratch) + at, keys, rule_.exponent_scale(), lse2_.data() + row,
                 delta_.data() + row, slope);
}

/// dV += p^T dout and dK += ds^T q, 12 keys at a time, over the groups that see some of the 12.
void SimdBackward::add_to_keys(const QueryTile& queries, RowSpan hull, const Scratch& scratch) const {
  const RowSpan blocks{hull.begin / group_rows * group_rows, round_up(hull.end, group_rows)};
  clear_unseen(queries, blocks, scratch);
  for (std::int64_t key = blocks.begin; key < blocks.end; key += group_rows) {
    const RowSpan groups = groups_that_see(queries, {key, key + group_rows});
    const std::int64_t scores = groups.begin * group_rows * score_stride + key;
    const std::int64_t rows = (groups.end - groups.begin) * group_rows;
    const std::int64_t at = (queries.row + groups.begin * group_rows) / ops_.pair * layout_.width;
    ops_.accumulate_transposed(scratch.p.data() + scores, rows, dout_rows_.data() + at, layout_.width,
                               scratch.dv.data() + key * layout_.width);
    ops_.accumulate_transposed(scratch.ds.data() + scores, rows, q_rows_.data() + at, layout_.width,
                               scratch.dk.data() + key * layout_.width);
  }
}

void SimdBackward::add_to_queries(const QueryTile& queries, const Scratch& scratch) const {
  for (std::int64_t i = 0; i < queries.groups; ++i) {
    const VisibleColumns& columns = queries.columns[static_cast<std::size_t>(i)];
    if (columns.empty()) continue;
    const RowSpan seen = columns.seen;
    ops_.accumulate(ds_along_keys(scratch) + i * group_rows * score_stride + columns.begin +
                        (seen.begin - columns.begin) / ops_.pair,
                    seen.end - seen.begin, scratch.k_rows.data() + seen.begin / ops_.pair * layout_.width,
                    layout_.width, dq_.data() + (queries.row + i * group_rows) * layout_.width);
  }
}

/// The key tiles that a query tile reaches add to it in ascending order, whichever workers hold them. Lower tiles have
/// started (Workers).
bool SimdBackward::wait_for_turn(const Job& job, const std::atomic<std::int64_t>& turn, std::int64_t index,
                                 int worker) const {
  while (turn.load(std::memory_order_acquire) != index) {
    if (workers_.failed()) return false;
    job.pacer.waited(worker);
    std::this_thread::yield();
  }
  return true;
}

void SimdBackward::write_gradient(const Job& job, const KeyTile& tile, const Scratch& scratch) const {
  const GradientLayout layout = gradient_layout(job.block.shape);
  const std::int64_t at = tile.keys.begin * layout.width;
  const std::int64_t count = (tile.keys.end - tile.keys.begin) * layout.width;
  const auto scale = static_cast<float>(problem_.softmax_scale);
  std::transform(scratch.dk.data(), scratch.dk.data() + count, job.gradient + layout.dk_at(tile.b, tile.kv_head) + at,
                 [scale](float x) { return x * scale; });
  std::copy_n(scratch.dv.data(), count, job.gradient + layout.dv_at(tile.b, tile.kv_head) + at);
}

void SimdBackward::finish(const TensorView& dq, std::span<double> dsink_out) {
  const auto scale = static_cast<float>(problem_.softmax_scale);
  workers_.for_each(problem_.batch * problem_.heads, [&](std::int64_t task, int) {
    const std::int64_t b = task / problem_.heads;
    const std::int64_t head = task % problem_.heads;
    const float* const rows = dq_.data() + layout_.row_at(b, head, 0) * layout_.width;
    for (std::int64_t row = 0; row < layout_.rows; ++row)
      write_row(ops_, rows + row * layout_.width, scale, dq, b, row, head);
  });
  if (dsink_out.empty()) return;
  for (std::int64_t head = 0; head < problem_.heads; ++head) dsink_out[static_cast<std::size_t>(head)] = dsink(head);
}

double SimdBackward::dsink(std::int64_t head) const {
  const double sink =
      problem_.sink.empty() ? -std::numeric_limits<double>::infinity() : problem_.sink[static_cast<std::size_t>(head)];
  if (!std::isfinite(sink)) return 0;  // exp(sink - lse) is 0, also for rows whose lse is -infinity
  double sum = 0;
  for (std::int64_t b = 0; b < problem_.batch; ++b) {
    const float* const delta = delta_.data() + layout_.row_at(b, head, 0);
    const float* const lse = inputs_.lse.at(b, head);
    for (std::int64_t row = 0; row < layout_.rows; ++row) sum -= std::exp(sink - lse[row]) * delta[row];
  }
  return sum;
}

}  // namespace

std::unique_ptr<BackwardPass> make_backward(const TileOps& ops, const Problem& problem, const BackwardInputs& inputs,
                                            Resources resources) {
  pass_bytes(problem, Direction::backward, ops.pair);  // throws where the products inside would wrap
  return std::make_unique<SimdBackward>(ops, problem, inputs, resources);
}

}  // namespace annulus::kernels::simd
