/// One rank's attention on one backend, through the contract alone: pack, attend block by block, finish, and back.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "kernels/contract/attention.hpp"
#include "kernels/reference/reference_table.hpp"
#include "kernels/simd/simd_tables.hpp"
#include "tests/support/random_tensors.hpp"

namespace annulus::test {

/// The SIMD rows that run on this machine.
inline std::vector<const kernels::KernelTable*> simd_rows() {
  std::vector<const kernels::KernelTable*> rows;
  for (const auto* row :
       {&kernels::simd::portable_table(), &kernels::simd::avx2_table(), &kernels::simd::avx512_table(),
        &kernels::simd::avx512_bf16_table()}) {
    if (row->unavailable.empty()) rows.push_back(row);
  }
  return rows;
}

enum class MaskKind { full, causal, window, two_spans, strided };

struct SimdCase {
  std::int64_t batch = 1;
  std::int64_t q_rows = 50;
  std::vector<std::int64_t> block_rows{70};
  std::int64_t heads = 2;
  std::int64_t kv_heads = 1;
  std::int64_t head_dim = 64;
  DType dtype = DType::f32;
  MaskKind mask = MaskKind::causal;
  double softmax_scale = 0.125;
  double softcap = 0;
  bool alibi = false;
  bool sink = false;
  double q_scale = 1;
};

inline std::string describe(const SimdCase& c) {
  return "q_rows " + std::to_string(c.q_rows) + ", block " + std::to_string(c.block_rows.front()) + " x" +
         std::to_string(c.block_rows.size()) + ", heads " + std::to_string(c.heads) + "/" + std::to_string(c.kv_heads) +
         ", head_dim " + std::to_string(c.head_dim) + ", " + std::string(name(c.dtype)) + ", mask " +
         std::to_string(static_cast<int>(c.mask));
}

struct SimdResult {
  std::vector<double> out;
  std::vector<double> lse;
  std::vector<double> dq;
  std::vector<double> dk;
  std::vector<double> dv;
  std::vector<double> dsink;
  friend bool operator==(const SimdResult&, const SimdResult&) = default;
};

class SimdRun {
 public:
  SimdRun(const SimdCase& c, const kernels::KernelTable& table, int threads) : c_(c), table_(table), workers_(threads) {
    const std::int64_t keys = std::accumulate(c.block_rows.begin(), c.block_rows.end(), std::int64_t{0});
    positions_.resize(static_cast<std::size_t>(std::max(c.q_rows, keys)));
    std::iota(positions_.begin(), positions_.end(), std::int64_t{0});
    for (std::int64_t h = 0; h < c.heads; ++h) {
      slopes_.push_back(0.1F / static_cast<float>(h + 1));
      sinks_.push_back(0.5F - static_cast<float>(h));
    }
    problem_.batch = c.batch;
    problem_.q_rows = c.q_rows;
    problem_.heads = c.heads;
    problem_.kv_heads = c.kv_heads;
    problem_.head_dim = c.head_dim;
    problem_.dtype = c.dtype;
    problem_.softmax_scale = c.softmax_scale;
    problem_.softcap = c.softcap;
    problem_.query_positions = std::span(positions_).first(static_cast<std::size_t>(c.q_rows));
    if (c.alibi) problem_.alibi_slopes = slopes_;
    if (c.sink) problem_.sink = sinks_;
    q_ = Tensor(c.dtype, c.batch, c.q_rows, c.heads, c.head_dim);
    dout_ = Tensor(c.dtype, c.batch, c.q_rows, c.heads, c.head_dim);
    fill_random(q_.view(), 7, Role::q, problem_.query_positions, c.q_scale);
    fill_random(dout_.view(), 7, Role::dout, problem_.query_positions);
    std::int64_t first = 0;
    for (const std::int64_t rows : c.block_rows) {
      add_block(first, rows);
      first += rows;
    }
  }

  SimdResult run() {
    SimdResult result;
    Tensor out(DType::f32, c_.batch, c_.q_rows, c_.heads, c_.head_dim);
    std::vector<float> lse(static_cast<std::size_t>(c_.batch * c_.heads * c_.q_rows));
    const RowStats stats = dense_stats(lse.data(), c_.batch, c_.heads, c_.q_rows);
    const auto forward = table_.forward(problem_, q_.view(), {workers_, memory_});
    for (const Owned& block : blocks_) {
      const Buffer<std::byte> packed = pack(block, kernels::Direction::forward);
      forward->attend({block.shape, packed.data(), block.positions}, {block.spans, 2}, progress());
    }
    forward->finish(out.view(), stats);
    result.out = values(out.view());
    result.lse.assign(lse.begin(), lse.end());
    backward(out, stats, result);
    return result;
  }
  /// Negative if one came from another thread than the caller's.
  int progress_calls() const { return progress_calls_; }

 private:
  struct Owned {
    kernels::BlockShape shape;
    Tensor k;
    Tensor v;
    std::span<const std::int64_t> positions;
    std::vector<kernels::RowSpan> spans;
  };

  void add_block(std::int64_t first, std::int64_t rows) {
    Owned block{{c_.batch, rows, c_.kv_heads, c_.head_dim, c_.dtype},
                Tensor(c_.dtype, c_.batch, rows, c_.kv_heads, c_.head_dim),
                Tensor(c_.dtype, c_.batch, rows, c_.kv_heads, c_.head_dim),
                std::span(positions_).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(rows)),
                {}};
    fill_random(block.k.view(), 7, Role::k, block.positions);
    fill_random(block.v.view(), 7, Role::v, block.positions);
    for (std::int64_t i = 0; i < c_.q_rows; ++i) {
      for (const kernels::RowSpan& span : visible(i)) {
        const kernels::RowSpan cut = span.within({first, first + rows});
        block.spans.push_back({cut.begin - first, cut.end - first, cut.step});
      }
    }
    blocks_.push_back(std::move(block));
  }

  /// Key positions that query `i` sees, as two spans.
  std::vector<kernels::RowSpan> visible(std::int64_t i) const {
    const auto end = static_cast<std::int64_t>(positions_.size());
    switch (c_.mask) {
      case MaskKind::full: return {{0, end}, {end, end}};
      case MaskKind::causal: return {{0, i + 1}, {i + 1, i + 1}};
      case MaskKind::window: return {{i - 20, i - 7}, {i, i}};  // the first rows see nothing
      case MaskKind::strided: return {{i % 9, i - 20, 9}, {std::max<std::int64_t>(i - 20, 0), i + 1}};
      case MaskKind::two_spans: return {{0, std::min<std::int64_t>(5, i)}, {i + 3, i + 40}};
    }
    return {};
  }

  Progress progress() {
    return [this, caller = std::this_thread::get_id()] {
      progress_calls_ += std::this_thread::get_id() == caller ? 1 : -1'000'000;
    };
  }
  Buffer<std::byte> pack(const Owned& block, kernels::Direction direction) {
    Buffer<std::byte> packed(static_cast<std::int64_t>(table_.packed_bytes(block.shape, direction)));
    table_.pack(block.shape, direction, block.k.view(), block.v.view(), packed.data(), workers_);
    return packed;
  }

  void backward(const Tensor& out, const ConstRowStats& lse, SimdResult& result) {
    const auto pass = table_.backward(problem_, {q_.view(), out.view(), dout_.view(), lse}, {workers_, memory_});
    for (const Owned& block : blocks_) {
      const Buffer<std::byte> packed = pack(block, kernels::Direction::backward);
      Buffer<float> gradient(table_.gradient_elements(block.shape));
      std::fill_n(gradient.data(), gradient.size(), std::nanf(""));  // attend writes every element
      auto* const bytes = reinterpret_cast<std::byte*>(gradient.data());
      pass->attend({block.shape, packed.data(), block.positions}, {block.spans, 2}, bytes, progress());
      Tensor dk(DType::f32, c_.batch, block.shape.rows, c_.kv_heads, c_.head_dim);
      Tensor dv(DType::f32, c_.batch, block.shape.rows, c_.kv_heads, c_.head_dim);
      table_.unpack_gradient(block.shape, bytes, dk.view(), dv.view());
      for (const double x : values(dk.view())) result.dk.push_back(x);
      for (const double x : values(dv.view())) result.dv.push_back(x);
    }
    Tensor dq(DType::f32, c_.batch, c_.q_rows, c_.heads, c_.head_dim);
    result.dsink.resize(static_cast<std::size_t>(c_.sink ? c_.heads : 0));
    pass->finish(dq.view(), result.dsink);
    result.dq = values(dq.view());
  }

  SimdCase c_;
  const kernels::KernelTable& table_;
  Workers workers_;
  BufferPool memory_;
  std::vector<std::int64_t> positions_;
  std::vector<float> slopes_;
  std::vector<float> sinks_;
  kernels::Problem problem_;
  Tensor q_;
  Tensor dout_;
  std::vector<Owned> blocks_;
  int progress_calls_ = 0;
};

}  // namespace annulus::test
