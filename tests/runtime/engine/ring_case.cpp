/// Running a case and judging it by the oracle.
// SPDX-License-Identifier: Apache-2.0
#include "tests/runtime/engine/ring_case.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "tests/support/compare.hpp"
#include "tests/support/oracle.hpp"
#include "tests/support/random_masks.hpp"
#include "tests/support/random_tensors.hpp"

namespace annulus::test {
namespace {

std::vector<float> floats(const Tensor& tensor) {
  const std::vector<double> wide = values(tensor.view());
  return {wide.begin(), wide.end()};
}

/// Adds `change` to every element at one position, if this shard holds it.
void change_rows(const Tensor& tensor, const std::vector<std::int64_t>& positions, std::optional<std::int64_t> position,
                 double change) {
  if (!position) return;
  const TensorView& view = tensor.view();
  for (std::int64_t row = 0; row < view.rows; ++row) {
    if (positions[static_cast<std::size_t>(row)] != *position) continue;
    with_dtype(view.dtype, [&](auto element) {
      using T = decltype(element);
      for (std::int64_t b = 0; b < view.batch; ++b) {
        for (std::int64_t i = 0; i < view.heads * view.head_dim; ++i) {
          T& x = view.at<T>(b, row, 0)[i];
          x = from_double<T>(to_double(x) + change);
        }
      }
    });
  }
}

/// q, k, v and dout of the given positions, the case's changes applied.
struct Inputs {
  Tensor q, k, v, dout;
  Inputs(const RingCase& test, const std::vector<std::int64_t>& queries, const std::vector<std::int64_t>& keys) {
    const AttentionSpec& spec = test.spec;
    const auto make = [&](Role role, const std::vector<std::int64_t>& positions, std::int64_t heads) {
      return random_tensor(spec.dtype, test.seed, role, spec.batch, positions, heads, spec.head_dim);
    };
    q = make(Role::q, queries, spec.heads);
    k = make(Role::k, keys, spec.kv_heads);
    v = make(Role::v, keys, spec.kv_heads);
    dout = make(Role::dout, queries, spec.heads);
    change_rows(k, keys, test.changed_key, 1);
    change_rows(v, keys, test.changed_key, 1000);
    change_rows(dout, queries, test.changed_dout, 1);
  }
};

OracleProblem oracle_problem(const AttentionSpec& spec) {
  return {.batch = spec.batch,
          .seq_q = spec.seq_q,
          .seq_k = spec.seq_k,
          .heads = spec.heads,
          .kv_heads = spec.kv_heads,
          .head_dim = spec.head_dim,
          .mask = oracle_mask(spec.mask),
          .softmax_scale = spec.softmax_scale,
          .softcap = spec.softcap,
          .alibi_slopes = spec.alibi_slopes,
          .sink = spec.sink ? sink_values(spec) : std::vector<float>{}};
}

/// Judges one output after the other and keeps the worst.
class Judge {
 public:
  Judge(DType dtype, double max_abs_score) : dtype_(dtype), max_abs_score_(max_abs_score) {}

  void compare(const char* what, const std::vector<float>& got, const std::vector<double>& want,
               const std::vector<double>& whole, const std::vector<double>& plain) {
    compare(what, got, want, whole, plain, largest(whole));
  }
  /// `least_plain_error`: of what `got` is made from; a sum of few terms may cancel in the yardstick by luck.
  void compare(const char* what, const std::vector<float>& got, const std::vector<double>& want,
               const std::vector<double>& whole, const std::vector<double>& plain, double scale,
               double least_plain_error = 0) {
    const std::vector<double> wide(got.begin(), got.end());
    const double error = relative_error(wide, want, scale);
    const double plain_error = std::max(least_plain_error, plain.empty() ? 0 : relative_error(plain, whole, scale));
    const double share = error / allowed_error(dtype_, max_abs_score_, plain_error);
    if (!(share <= worst_.share)) worst_ = {share, error, what};
  }
  const RingError& worst() const { return worst_; }

 private:
  DType dtype_;
  double max_abs_score_;
  RingError worst_;
};

/// Largest over heads of the sum of |exp(sink - lse) * dout.out|: dsink adds up terms of both signs, and what is left may be
/// far smaller than they are.
double dsink_scale(const AttentionSpec& spec, const OracleTensors& tensors, const OracleResult& want) {
  const std::vector<float> sink = sink_values(spec);
  double top = 0;
  for (std::int64_t head = 0; head < spec.heads; ++head) {
    double sum = 0;
    for (std::int64_t b = 0; b < spec.batch; ++b) {
      for (std::int64_t q = 0; q < spec.seq_q; ++q) {
        const auto row = static_cast<std::size_t>(((b * spec.seq_q + q) * spec.heads + head) * spec.head_dim);
        const auto width = static_cast<std::size_t>(spec.head_dim);
        const double delta = std::inner_product(&want.out[row], &want.out[row] + width, &tensors.dout[row], 0.0);
        const double lse = want.lse[static_cast<std::size_t>((b * spec.heads + head) * spec.seq_q + q)];
        sum += std::exp(static_cast<double>(sink[static_cast<std::size_t>(head)]) - lse) * std::abs(delta);
      }
    }
    top = std::max(top, sum);
  }
  return top;
}

}  // namespace

std::string RingCase::describe() const {
  const auto list = [](std::initializer_list<std::int64_t> numbers) {
    std::string text;
    for (const std::int64_t number : numbers) text += (text.empty() ? "" : "x") + std::to_string(number);
    return text;
  };
  return list({spec.batch, spec.seq_q, spec.seq_k, spec.heads, spec.kv_heads, spec.head_dim}) + " " +
         std::string(name(spec.dtype)) + " " + Mask(spec.mask, spec.seq_q, spec.seq_k).describe() + ", " +
         std::string(name(layout.kind)) + "/" +
         std::to_string(layout.stripe) + ", " + execution.backend + ", " + std::string(name(execution.exchange)) +
         (execution.group_size > 0 ? " in groups of " + std::to_string(execution.group_size) : "") +
         (spec.softcap > 0 ? ", softcap" : "") + (spec.alibi_slopes.empty() ? "" : ", alibi") +
         (spec.sink ? ", sink" : "") + ", seed " + std::to_string(seed);
}

std::vector<float> sink_values(const AttentionSpec& spec) {
  std::vector<float> sink;
  for (std::int64_t head = 0; head < spec.heads; ++head) sink.push_back(0.7F * static_cast<float>(head % 3) - 0.5F);
  return sink;
}

int world_rank() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

int world_size() {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

bool same_bits(const RingResult& a, const RingResult& b) {
  const auto equal = [](const std::vector<float>& x, const std::vector<float>& y) {
    return x.size() == y.size() && (x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0);
  };
  return equal(a.out, b.out) && equal(a.lse, b.lse) && equal(a.dq, b.dq) && equal(a.dk, b.dk) && equal(a.dv, b.dv) &&
         equal(a.dsink, b.dsink);
}

RingResult run_ring(MPI_Comm comm, const RingCase& test) {
  const AttentionSpec& spec = test.spec;
  RingAttention ring(comm, test.layout, spec, test.execution);
  const std::int64_t q_rows = ring.q_layout().rows(ring.rank());
  const Inputs in(test, ring.q_layout().positions(ring.rank()), ring.k_layout().positions(ring.rank()));
  const std::vector<float> sink = spec.sink ? sink_values(spec) : std::vector<float>{};
  const auto like_q = [&](DType dtype) { return Tensor(dtype, spec.batch, q_rows, spec.heads, spec.head_dim); };
  const Tensor out = like_q(test.out_dtype.value_or(spec.dtype));
  RingResult result;
  result.lse.assign(static_cast<std::size_t>(spec.batch * spec.heads * q_rows), -77.0F);
  const RowStats lse = dense_stats(result.lse.data(), spec.batch, spec.heads, q_rows);
  ring.forward({in.q.view(), in.k.view(), in.v.view(), out.view(), lse, sink});
  result.out = floats(out);
  result.forward = ring.last_call();
  if (!test.backward) return result;

  const Tensor dq = like_q(DType::f32);
  const Tensor dk(DType::f32, spec.batch, ring.k_layout().rows(ring.rank()), spec.kv_heads, spec.head_dim);
  const Tensor dv(DType::f32, spec.batch, ring.k_layout().rows(ring.rank()), spec.kv_heads, spec.head_dim);
  result.dsink.resize(sink.size());
  ring.backward({in.q.view(), in.k.view(), in.v.view(), out.view(), in.dout.view(), lse, dq.view(), dk.view(), dv.view(),
                 sink, result.dsink});
  result.backward = ring.last_call();
  result.dq = floats(dq);
  result.dk = floats(dk);
  result.dv = floats(dv);
  return result;
}

RingError judge(const RingCase& test, int rank, int ranks, const RingResult& result) {
  const AttentionSpec& spec = test.spec;
  const Inputs whole(test, all_positions(spec.seq_q), all_positions(spec.seq_k));
  const OracleTensors tensors{values(whole.q.view()), values(whole.k.view()), values(whole.v.view()),
                              test.backward ? values(whole.dout.view()) : std::vector<double>{}};
  const OracleProblem problem = oracle_problem(spec);
  const OracleResult want = oracle(problem, tensors);
  const bool narrow = spec.dtype == DType::bf16 || spec.dtype == DType::f16;
  const OracleResult plain = narrow ? plain_attention_rounded(problem, tensors, spec.dtype) : OracleResult{};

  const auto q_at = Layout(test.layout.kind, spec.seq_q, ranks, test.layout.stripe).positions(rank);
  const auto k_at = Layout(test.layout.kind, spec.seq_k, ranks, test.layout.stripe).positions(rank);
  const auto q_part = [&](const std::vector<double>& x) {
    return select_rows(x, spec.batch, spec.seq_q, spec.heads * spec.head_dim, q_at);
  };
  const auto k_part = [&](const std::vector<double>& x) {
    return select_rows(x, spec.batch, spec.seq_k, spec.kv_heads * spec.head_dim, k_at);
  };
  Judge judge(spec.dtype, want.max_abs_score);
  judge.compare("out", result.out, q_part(want.out), want.out, plain.out);
  judge.compare("lse", result.lse, select_stats(want.lse, spec.batch, spec.heads, spec.seq_q, q_at), want.lse, plain.lse);
  if (!test.backward) return judge.worst();
  judge.compare("dq", result.dq, q_part(want.dq), want.dq, plain.dq);
  judge.compare("dk", result.dk, k_part(want.dk), want.dk, plain.dk);
  judge.compare("dv", result.dv, k_part(want.dv), want.dv, plain.dv);
  if (spec.sink) {
    const double out_error = plain.out.empty() ? 0 : relative_error(plain.out, want.out, largest(want.out));
    judge.compare("dsink", result.dsink, want.dsink, want.dsink, plain.dsink, dsink_scale(spec, tensors, want), out_error);
  }
  return judge.worst();
}

}  // namespace annulus::test
