/// Forward of the reference backend: online softmax over key tiles, in double throughout.
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

constexpr double infinity = std::numeric_limits<double>::infinity();

/// The carry of one query row and head: O = sum_j e^(s_j - m) v_j, l = sum_j e^(s_j - m), m = max_j s_j.
struct Carry {
  double* o;
  double& m;
  double& l;
};

class ReferenceForward final : public ForwardPass {
 public:
  ReferenceForward(const Problem& problem, const ConstTensorView& q, Resources resources)
      : problem_(problem),
        q_(q),
        workers_(resources.workers),
        o_(rows() * problem.head_dim, resources.memory),
        m_(rows(), resources.memory),
        l_(rows(), resources.memory) {
    o_.clear();
    l_.clear();
    std::ranges::fill(m_.span(), -infinity);
  }

  void attend(const Block& block, const VisibleRows& visible, const Progress& progress) override {
    const auto attend_one = [&](std::int64_t task, int worker) {
      Poll poll(progress, worker);
      attend_head(block, visible, task / problem_.heads, task % problem_.heads, poll);
    };
    workers_.for_each(problem_.batch * problem_.heads, attend_one, progress);
  }

  void finish(const TensorView& out, const RowStats& lse) override {
    workers_.for_each(problem_.batch * problem_.heads, [&](std::int64_t task, int) {
      for (std::int64_t row = 0; row < problem_.q_rows; ++row) {
        finish_row(out, lse, task / problem_.heads, task % problem_.heads, row);
      }
    });
  }

 private:
  std::int64_t rows() const { return problem_.batch * problem_.heads * problem_.q_rows; }
  Carry carry(std::int64_t b, std::int64_t head, std::int64_t row) const {
    const std::int64_t i = (b * problem_.heads + head) * problem_.q_rows + row;
    return {o_.data() + i * problem_.head_dim, m_[i], l_[i]};
  }

  void attend_head(const Block& block, const VisibleRows& visible, std::int64_t b, std::int64_t head,
                   Poll& poll) const {
    KeyTile tile(problem_.head_dim);
    std::vector<double> q(static_cast<std::size_t>(problem_.head_dim));
    const std::int64_t kv_head = head / (problem_.heads / problem_.kv_heads);
    for (std::int64_t begin = 0; begin < block.shape.rows; begin += tile_rows) {
      tile.load(block, b, kv_head, begin);
      for (std::int64_t row = 0; row < problem_.q_rows; ++row) {
        load_row(q_, b, row, head, q.data());
        attend_row(block, visible, tile, head, row, q.data(), carry(b, head, row));
        poll.row_done();
      }
    }
  }

  void attend_row(const Block& block, const VisibleRows& visible, const KeyTile& tile, std::int64_t head,
                  std::int64_t row, const double* q, Carry carry) const {
    double scores[tile_rows];
    double m = carry.m;
    for_each_visible(visible, row, tile.keys(), [&](std::int64_t key) {
      const double qk = dot(q, tile.k(key), problem_.head_dim);
      const double s = score(problem_, head, qk, distance(problem_, block, row, key)).s;
      scores[key - tile.keys().begin] = s;
      m = std::max(m, s);
    });
    const double shift = m == -infinity ? 0 : m;  // -inf - -inf would be NaN
    rescale(carry, std::exp(carry.m - shift));
    carry.m = m;
    for_each_visible(visible, row, tile.keys(), [&](std::int64_t key) {
      const double p = std::exp(scores[key - tile.keys().begin] - shift);
      carry.l += p;
      add_scaled(p, tile.v(key), problem_.head_dim, carry.o);
    });
  }

  void rescale(Carry carry, double factor) const {
    if (factor == 1) return;
    carry.l *= factor;
    for (std::int64_t d = 0; d < problem_.head_dim; ++d) carry.o[d] *= factor;
  }

  void finish_row(const TensorView& out, const RowStats& lse, std::int64_t b, std::int64_t head,
                  std::int64_t row) const {
    const Carry c = carry(b, head, row);
    const double sink = problem_.sink.empty() ? -infinity : problem_.sink[static_cast<std::size_t>(head)];
    const double top = std::max(c.m, sink);
    const double shift = top == -infinity ? 0 : top;
    const double weight = std::exp(c.m - shift);
    const double sum = c.l * weight + std::exp(sink - shift);
    const double norm = sum == 0 ? 0 : weight / sum;  // a row that saw no key has O = 0
    for (std::int64_t d = 0; d < problem_.head_dim; ++d) c.o[d] *= norm;
    store_row(c.o, out, b, row, head);
    lse.at(b, head)[row] = static_cast<float>(shift + std::log(sum));
  }

  Problem problem_;
  ConstTensorView q_;
  Workers& workers_;
  Buffer<double> o_;
  Buffer<double> m_;
  Buffer<double> l_;
};

}  // namespace

std::unique_ptr<ForwardPass> make_forward(const Problem& problem, const ConstTensorView& q, Resources resources) {
  return std::make_unique<ReferenceForward>(problem, q, resources);
}

}  // namespace annulus::kernels::reference
