/// Drives the contract: views, blocks, spans, passes, gradients.
// SPDX-License-Identifier: Apache-2.0
#include "tests/kernels/contract_case.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/compare.hpp"
#include "tests/support/random_tensors.hpp"

namespace annulus::test {
namespace {

using kernels::BlockShape;
using kernels::Direction;
using kernels::KernelTable;
using kernels::RowSpan;

constexpr std::byte nan_byte{0xff};

DType result_dtype(const ContractCase& test) { return test.result_dtype.value_or(kernels::gradient_dtype(test.dtype)); }

/// The coarsest type on the way: what plain attention would store, and what the tolerance follows.
DType coarsest(const ContractCase& test) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    if (test.dtype == dtype || result_dtype(test) == dtype) return dtype;
  }
  return test.dtype;
}

/// Writes dense doubles to a view, rows taken at `positions` of a sequence of `seq` rows.
void fill(const TensorView& view, const std::vector<double>& dense, std::int64_t seq,
          std::span<const std::int64_t> positions) {
  const std::int64_t row_size = view.heads * view.head_dim;
  const std::vector<double> rows = select_rows(dense, view.batch, seq, row_size, positions);
  with_dtype(view.dtype, [&](auto element) {
    using T = decltype(element);
    auto from = rows.begin();
    for (std::int64_t b = 0; b < view.batch; ++b) {
      for (std::int64_t row = 0; row < view.rows; ++row) {
        for (std::int64_t head = 0; head < view.heads; ++head) {
          T* to = view.at<T>(b, row, head);
          for (std::int64_t d = 0; d < view.head_dim; ++d) to[d] = from_double<T>(*from++);
        }
      }
    }
  });
}

/// The inverse of select_rows: writes the rows of a view to a dense array.
void scatter(const TensorView& view, std::int64_t seq, std::span<const std::int64_t> positions,
             std::vector<double>& dense) {
  const std::vector<double> rows = values(view);
  const std::int64_t row_size = view.heads * view.head_dim;
  auto from = rows.begin();
  for (std::int64_t b = 0; b < view.batch; ++b) {
    for (const std::int64_t pos : positions) {
      std::copy_n(from, row_size, dense.begin() + (b * seq + pos) * row_size);
      from += row_size;
    }
  }
}

/// Single rows at equal distances, of which a stride leaves many, become one span each.
void join_progressions(std::vector<RowSpan>& runs) {
  std::vector<RowSpan> joined;
  for (const RowSpan& run : runs) {
    if (!joined.empty() && run.rows() == 1) {
      RowSpan& last = joined.back();
      const std::int64_t distance = run.begin - (last.end - 1);
      if (last.rows() == 1 || (last.step > 1 && last.step == distance)) {
        last = {last.begin, run.end, distance};
        continue;
      }
    }
    joined.push_back(run);
  }
  runs = std::move(joined);
}

/// Spans by asking the predicate for every pair: runs of visible rows of the block.
std::vector<RowSpan> spans_of(const OracleProblem& problem, const BlockKeys& keys, std::int64_t* per_row) {
  std::vector<std::vector<RowSpan>> runs(static_cast<std::size_t>(problem.seq_q));
  *per_row = 1;
  for (std::size_t q = 0; q < runs.size(); ++q) {
    const std::int64_t i = static_cast<std::int64_t>(q) + problem.seq_k - problem.seq_q;
    for (std::int64_t row = 0; row < std::ssize(keys); ++row) {
      if (!problem.mask.visible(i, keys[static_cast<std::size_t>(row)])) continue;
      if (runs[q].empty() || runs[q].back().end != row) runs[q].push_back({row, row});
      runs[q].back().end = row + 1;
    }
    join_progressions(runs[q]);
    *per_row = std::max(*per_row, static_cast<std::int64_t>(runs[q].size()));
  }
  std::vector<RowSpan> spans;
  for (auto& row : runs) {
    row.resize(static_cast<std::size_t>(*per_row), row.empty() ? RowSpan{} : RowSpan{row.back().end, row.back().end});
    spans.insert(spans.end(), row.begin(), row.end());
  }
  return spans;
}

/// One case on its way through one backend.
class Run {
 public:
  Run(const KernelTable& table, const ContractCase& test, const Progress& progress)
      : table_(table), test_(test), progress_(progress), workers_(test.workers), q_(like_q(test.dtype)) {
    const OracleProblem& p = test_.problem;
    q_positions_ = all_positions(p.seq_q);
    for (const std::int64_t q : q_positions_) key_positions_.push_back(q + p.seq_k - p.seq_q);
    fill(q_.view(), test_.tensors.q, p.seq_q, q_positions_);
    problem_ = {.batch = p.batch,
                .q_rows = p.seq_q,
                .heads = p.heads,
                .kv_heads = p.kv_heads,
                .head_dim = p.head_dim,
                .dtype = test_.dtype,
                .softmax_scale = p.softmax_scale.value_or(1 / std::sqrt(static_cast<double>(p.head_dim))),
                .softcap = p.softcap,
                .alibi_slopes = p.alibi_slopes,
                .sink = p.sink,
                .query_positions = key_positions_};
  }

  OracleResult forward() {
    auto pass = table_.forward(problem_, q_.view(), {workers_, memory_});
    for (const BlockKeys& keys : test_.blocks) {
      with_block(keys, Direction::forward, [&](const kernels::Block& block, const kernels::VisibleRows& visible) {
        pass->attend(block, visible, progress_);
      });
    }
    out_ = like_q(result_dtype(test_));
    lse_ = std::vector<float>(static_cast<std::size_t>(test_.problem.batch * test_.problem.heads * lse_stride()), NAN);
    pass->finish(out_.view(), lse());
    EXPECT_TRUE(out_.gaps_untouched());
    OracleResult result;
    result.out = values(out_.view());
    for (std::int64_t i = 0; i < problem_.batch * problem_.heads; ++i) {
      const auto row = lse_.begin() + i * lse_stride();
      result.lse.insert(result.lse.end(), row, row + problem_.q_rows);
      EXPECT_TRUE(std::isnan(*(row + problem_.q_rows))) << "lse: wrote beyond a row";
    }
    return result;
  }

  void backward(OracleResult& result) {
    const OracleProblem& p = test_.problem;
    const PaddedTensor dout = like_q(test_.dout_dtype.value_or(test_.dtype));
    fill(dout.view(), test_.tensors.dout, p.seq_q, q_positions_);
    const kernels::BackwardInputs inputs{q_.view(), out_.view(), dout.view(), lse()};
    auto pass = table_.backward(problem_, inputs, {workers_, memory_, test_.deterministic});
    result.dk.resize(test_.tensors.k.size());
    result.dv.resize(test_.tensors.v.size());
    for (const BlockKeys& keys : test_.blocks) gradients_of_block(*pass, keys, result);
    const PaddedTensor dq = like_q(result_dtype(test_));
    result.dsink.assign(p.sink.size(), NAN);
    pass->finish(dq.view(), result.dsink);
    EXPECT_TRUE(dq.gaps_untouched());
    result.dq = values(dq.view());
  }

 private:
  PaddedTensor like_q(DType dtype) const {
    const OracleProblem& p = test_.problem;
    return PaddedTensor(test_.gaps, dtype, p.batch, p.seq_q, p.heads, p.head_dim);
  }
  PaddedTensor like_k(DType dtype, std::int64_t rows) const {
    const OracleProblem& p = test_.problem;
    return PaddedTensor(test_.gaps, dtype, p.batch, rows, p.kv_heads, p.head_dim);
  }
  std::int64_t lse_stride() const { return problem_.q_rows + 3; }
  RowStats lse() {
    return {lse_.data(), problem_.batch, problem_.heads, problem_.q_rows, problem_.heads * lse_stride(), lse_stride()};
  }
  BlockShape shape_of(const BlockKeys& keys) const {
    return {problem_.batch, std::ssize(keys), problem_.kv_heads, problem_.head_dim, problem_.dtype};
  }

  /// Packs the keys into memory full of NaN and calls use(block, visible).
  template <class Use>
  void with_block(const BlockKeys& keys, Direction direction, Use&& use) {
    const BlockShape shape = shape_of(keys);
    const PaddedTensor k = like_k(test_.dtype, shape.rows);
    const PaddedTensor v = like_k(test_.dtype, shape.rows);
    fill(k.view(), test_.tensors.k, test_.problem.seq_k, keys);
    fill(v.view(), test_.tensors.v, test_.problem.seq_k, keys);
    const Buffer<std::byte> packed(static_cast<std::int64_t>(table_.packed_bytes(shape, direction)));
    std::ranges::fill(packed.span(), nan_byte);
    table_.pack(shape, direction, k.view(), v.view(), packed.data(), workers_);
    std::int64_t per_row = 1;
    const std::vector<RowSpan> spans = spans_of(test_.problem, keys, &per_row);
    use(kernels::Block{shape, packed.data(), keys}, kernels::VisibleRows{spans, per_row});
  }

  void gradients_of_block(kernels::BackwardPass& pass, const BlockKeys& keys, OracleResult& result) {
    const BlockShape shape = shape_of(keys);
    const auto size = static_cast<std::int64_t>(size_of(kernels::gradient_dtype(shape.dtype)));
    const Buffer<std::byte> gradient(table_.gradient_elements(shape) * size);
    std::ranges::fill(gradient.span(), nan_byte);
    with_block(keys, Direction::backward, [&](const kernels::Block& block, const kernels::VisibleRows& visible) {
      if (test_.part_tiles == 0) return pass.attend(block, visible, gradient.data(), progress_);
      const std::int64_t step = test_.part_tiles * table_.key_tile(shape.head_dim);
      for (std::int64_t begin = 0; begin < shape.rows; begin += step) {
        pass.attend_part(block, visible, {begin, std::min(begin + step, shape.rows)}, gradient.data(), progress_);
      }
    });
    const PaddedTensor dk = like_k(result_dtype(test_), shape.rows);
    const PaddedTensor dv = like_k(result_dtype(test_), shape.rows);
    table_.unpack_gradient(shape, gradient.data(), dk.view(), dv.view());
    EXPECT_TRUE(dk.gaps_untouched() && dv.gaps_untouched());
    scatter(dk.view(), test_.problem.seq_k, keys, result.dk);
    scatter(dv.view(), test_.problem.seq_k, keys, result.dv);
  }

  const KernelTable& table_;
  const ContractCase& test_;
  const Progress& progress_;
  Workers workers_;
  BufferPool memory_;
  PaddedTensor q_;
  PaddedTensor out_{Gaps::none, DType::f32, 0, 0, 0, 0};
  std::vector<float> lse_;
  std::vector<std::int64_t> q_positions_;
  std::vector<std::int64_t> key_positions_;
  kernels::Problem problem_;
};

void round_to(DType dtype, std::vector<double>& values) {
  with_dtype(dtype, [&](auto element) {
    for (double& x : values) x = to_double(from_double<decltype(element)>(x));
  });
}

/// Errors of one tensor: ours against the truth, and what plain attention in the same type would have.
void expect_close(const char* tensor, const ContractCase& test, double max_abs_score, const std::vector<double>& got,
                  const std::vector<double>& want, const std::vector<double>& plain, double scale) {
  const double error = relative_error(got, want, scale);
  const double plain_error = plain.empty() ? 0 : relative_error(plain, want, scale);
  EXPECT_LE(error, allowed_error(coarsest(test), max_abs_score, plain_error))
      << tensor << " (plain attention: " << plain_error << ")";
}

}  // namespace

void prepare(ContractCase& test) {
  const OracleProblem& p = test.problem;
  const auto random = [&](Role role, std::int64_t seq, std::int64_t heads, double scale) {
    return values(
        random_tensor(test.dtype, test.seed, role, p.batch, all_positions(seq), heads, p.head_dim, scale).view());
  };
  OracleTensors& t = test.tensors;
  if (t.q.empty()) t.q = random(Role::q, p.seq_q, p.heads, test.scale);
  if (t.k.empty()) t.k = random(Role::k, p.seq_k, p.kv_heads, test.scale);
  if (t.v.empty()) t.v = random(Role::v, p.seq_k, p.kv_heads, 1);
  if (t.dout.empty()) t.dout = random(Role::dout, p.seq_q, p.heads, 1);
  for (auto* tensor : {&t.q, &t.k, &t.v, &t.dout}) round_to(test.dtype, *tensor);
  if (test.blocks.empty()) test.blocks = cut_blocks(p.seq_k, {});
}

std::vector<BlockKeys> cut_blocks(std::int64_t seq_k, const std::vector<std::int64_t>& cuts) {
  std::vector<BlockKeys> blocks(1);
  auto cut = cuts.begin();
  for (std::int64_t pos = 0; pos <= seq_k; ++pos) {
    for (; cut != cuts.end() && *cut == pos; ++cut) blocks.emplace_back();
    if (pos < seq_k) blocks.back().push_back(pos);
  }
  return blocks;
}

OracleResult run_contract(const KernelTable& table, const ContractCase& test, bool backward, const Progress& progress) {
  Run run(table, test, progress);
  OracleResult result = run.forward();
  if (backward) run.backward(result);
  return result;
}

OracleResult judge(const KernelTable& table, ContractCase test, const std::string& what) {
  SCOPED_TRACE(what + ", seed " + std::to_string(test.seed));
  prepare(test);
  const OracleResult want = oracle(test.problem, test.tensors);
  const DType stored = coarsest(test);
  const OracleResult plain =
      size_of(stored) == 2 ? plain_attention_rounded(test.problem, test.tensors, stored) : OracleResult{};
  OracleResult got = run_contract(table, test);
  const auto check = [&](const char* name, auto member, double least_scale) {
    const double scale = std::max(largest(want.*member), least_scale);
    expect_close(name, test, want.max_abs_score, got.*member, want.*member, plain.*member, scale);
  };
  check("out", &OracleResult::out, 0);
  check("lse", &OracleResult::lse, 0);
  check("dq", &OracleResult::dq, test.gradient_scale);
  check("dk", &OracleResult::dk, test.gradient_scale);
  check("dv", &OracleResult::dv, 0);
  check("dsink", &OracleResult::dsink, test.sink_scale);
  return got;
}

}  // namespace annulus::test
