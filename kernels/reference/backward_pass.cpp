/// Backward of the reference backend: recomputes p = exp(s - lse) tile by tile, in double throughout.
// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/base/buffer.hpp"
#include "kernels/reference/key_tile.hpp"
#include "kernels/reference/passes.hpp"
#include "kernels/reference/score.hpp"

namespace annulus::kernels::reference {
namespace {

/// What one task keeps in hand: a tile of keys, the query row under way, and the tile's gradients.
struct Scratch {
  explicit Scratch(std::int64_t head_dim)
      : tile(head_dim),
        q(static_cast<std::size_t>(head_dim)),
        dout(q.size()),
        dk(static_cast<std::size_t>(tile_rows * head_dim)),
        dv(dk.size()) {}
  KeyTile tile;
  std::vector<double> q;
  std::vector<double> dout;
  std::vector<double> dk;
  std::vector<double> dv;
};

class ReferenceBackward final : public BackwardPass {
 public:
  ReferenceBackward(const Problem& problem, const BackwardInputs& inputs, Resources resources)
      : problem_(problem),
        inputs_(inputs),
        workers_(resources.workers),
        dq_(rows() * problem.head_dim, resources.memory),
        delta_(rows(), resources.memory) {
    dq_.clear();
    workers_.for_each(problem_.batch * problem_.heads, [&](std::int64_t task, int) {
      for (std::int64_t row = 0; row < problem_.q_rows; ++row) {
        delta_[task * problem_.q_rows + row] = dout_dot_out(task / problem_.heads, task % problem_.heads, row);
      }
    });
  }

  void attend_part(const Block& block, const VisibleRows& visible, RowSpan part, std::byte* gradient,
                   const Progress& progress) override {
    const auto attend_head = [&](std::int64_t task, int worker) {
      const std::int64_t b = task / problem_.kv_heads;
      const std::int64_t kv_head = task % problem_.kv_heads;
      Poll poll(progress, worker);
      Scratch scratch(problem_.head_dim);
      for (std::int64_t begin = part.begin; begin < part.end; begin += tile_rows) {
        attend_tile(block, visible, b, kv_head, begin, scratch, poll);
        store_gradient(block.shape, b, kv_head, scratch, gradient);
      }
    };
    workers_.for_each(problem_.batch * problem_.kv_heads, attend_head, progress);
  }

  void finish(const TensorView& dq, std::span<double> dsink) override {
    workers_.for_each(problem_.batch * problem_.heads, [&](std::int64_t task, int) {
      const std::int64_t b = task / problem_.heads;
      const std::int64_t head = task % problem_.heads;
      for (std::int64_t row = 0; row < problem_.q_rows; ++row) store_row(dq_row(b, head, row), dq, b, row, head);
    });
    for (std::size_t head = 0; head < dsink.size(); ++head)
      dsink[head] = sink_gradient(static_cast<std::int64_t>(head));
  }

 private:
  std::int64_t rows() const { return problem_.batch * problem_.heads * problem_.q_rows; }
  std::int64_t row_index(std::int64_t b, std::int64_t head, std::int64_t row) const {
    return (b * problem_.heads + head) * problem_.q_rows + row;
  }
  double* dq_row(std::int64_t b, std::int64_t head, std::int64_t row) const {
    return dq_.data() + row_index(b, head, row) * problem_.head_dim;
  }
  double lse(std::int64_t b, std::int64_t head, std::int64_t row) const { return inputs_.lse.at(b, head)[row]; }
  /// Rows without weight on anything have lse = -infinity and no gradients; exp(s - lse) would be NaN.
  static bool is_empty(double lse) { return lse == -std::numeric_limits<double>::infinity(); }

  double dout_dot_out(std::int64_t b, std::int64_t head, std::int64_t row) const {
    std::vector<double> dout(static_cast<std::size_t>(problem_.head_dim));
    std::vector<double> out(dout.size());
    load_row(inputs_.dout, b, row, head, dout.data());
    load_row(inputs_.out, b, row, head, out.data());
    return dot(dout.data(), out.data(), problem_.head_dim);
  }

  void attend_tile(const Block& block, const VisibleRows& visible, std::int64_t b, std::int64_t kv_head,
                   std::int64_t begin, Scratch& scratch, Poll& poll) const {
    scratch.tile.load(block, b, kv_head, begin);
    std::ranges::fill(scratch.dk, 0.0);
    std::ranges::fill(scratch.dv, 0.0);
    const std::int64_t group = problem_.heads / problem_.kv_heads;
    for (std::int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      for (std::int64_t row = 0; row < problem_.q_rows; ++row) {
        if (!is_empty(lse(b, head, row))) attend_row(block, visible, b, head, row, scratch);
        poll.row_done();
      }
    }
  }

  void attend_row(const Block& block, const VisibleRows& visible, std::int64_t b, std::int64_t head, std::int64_t row,
                  Scratch& scratch) const {
    const std::int64_t d = problem_.head_dim;
    const KeyTile& tile = scratch.tile;
    load_row(inputs_.q, b, row, head, scratch.q.data());
    load_row(inputs_.dout, b, row, head, scratch.dout.data());
    for_each_visible(visible, row, tile.keys(), [&](std::int64_t key) {
      const double qk = dot(scratch.q.data(), tile.k(key), d);
      const Score logit = score(problem_, head, qk, distance(problem_, block, row, key));
      const double p = std::exp(logit.s - lse(b, head, row));
      const double dp = dot(scratch.dout.data(), tile.v(key), d);
      const double dqk = p * (dp - delta_[row_index(b, head, row)]) * logit.slope;
      const std::int64_t at = (key - tile.keys().begin) * d;
      add_scaled(p, scratch.dout.data(), d, scratch.dv.data() + at);
      add_scaled(dqk, scratch.q.data(), d, scratch.dk.data() + at);
      add_scaled(dqk, tile.k(key), d, dq_row(b, head, row));
    });
  }

  void store_gradient(const BlockShape& shape, std::int64_t b, std::int64_t kv_head, const Scratch& scratch,
                      std::byte* gradient) const {
    const DType dtype = gradient_dtype(shape.dtype);
    const RowSpan keys = scratch.tile.keys();
    const std::int64_t count = (keys.end - keys.begin) * shape.head_dim;
    store(dtype, scratch.dk.data(), count, gradient + row_offset(shape, dtype, b, kv_head, Part::k, keys.begin));
    store(dtype, scratch.dv.data(), count, gradient + row_offset(shape, dtype, b, kv_head, Part::v, keys.begin));
  }

  double sink_gradient(std::int64_t head) const {
    const double sink = problem_.sink[static_cast<std::size_t>(head)];
    double sum = 0;
    for (std::int64_t b = 0; b < problem_.batch; ++b) {
      for (std::int64_t row = 0; row < problem_.q_rows; ++row) {
        if (is_empty(lse(b, head, row))) continue;
        sum -= std::exp(sink - lse(b, head, row)) * delta_[row_index(b, head, row)];
      }
    }
    return sum;
  }

  Problem problem_;
  BackwardInputs inputs_;
  Workers& workers_;
  Buffer<double> dq_;
  Buffer<double> delta_;  ///< dout.out per (batch, head, row)
};

}  // namespace

std::unique_ptr<BackwardPass> make_backward(const Problem& problem, const BackwardInputs& inputs, Resources resources) {
  return std::make_unique<ReferenceBackward>(problem, inputs, resources);
}

}  // namespace annulus::kernels::reference
