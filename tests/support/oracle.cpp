/// The oracle, one query row at a time.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/oracle.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace annulus::test {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Stores every intermediate in a type, or leaves it in double.
struct Rounding {
  std::optional<DType> dtype;
  double operator()(double x) const {
    if (!dtype) return x;
    return with_dtype(*dtype, [x](auto element) { return to_double(from_double<decltype(element)>(x)); });
  }
  void all(std::vector<double>& values) const {
    for (double& x : values) x = (*this)(x);
  }
};

/// One query row of one head: everything the formulas name, by key position.
struct Row {
  std::vector<double> s;      ///< -infinity where the mask hides the key
  std::vector<double> slope;  ///< d(s) / d(q.k)
  std::vector<double> p;
  double lse = -infinity;
};

class Plain {
 public:
  Plain(const OracleProblem& problem, const OracleTensors& in, Rounding round)
      : problem_(problem), in_(in), round_(round), d_(static_cast<std::size_t>(problem.head_dim)) {
    scale_ = problem.softmax_scale.value_or(1 / std::sqrt(static_cast<double>(problem.head_dim)));
    result_.out.resize(in.q.size());
    result_.lse.resize(static_cast<std::size_t>(problem.batch * problem.heads * problem.seq_q));
    if (in.dout.empty()) return;
    result_.dq.resize(in.q.size());
    result_.dk.resize(in.k.size());
    result_.dv.resize(in.v.size());
    result_.dsink.resize(problem.sink.size());
  }

  OracleResult run() {
    for (std::int64_t b = 0; b < problem_.batch; ++b) {
      for (std::int64_t head = 0; head < problem_.heads; ++head) {
        for (std::int64_t query = 0; query < problem_.seq_q; ++query) attend(b, head, query);
      }
    }
    for (auto* tensor : {&result_.out, &result_.dq, &result_.dk, &result_.dv}) round_.all(*tensor);
    return std::move(result_);
  }

 private:
  std::size_t q_at(std::int64_t b, std::int64_t head, std::int64_t query) const {
    return static_cast<std::size_t>((b * problem_.seq_q + query) * problem_.heads + head) * d_;
  }
  std::size_t k_at(std::int64_t b, std::int64_t head, std::int64_t key) const {
    const std::int64_t kv_head = head * problem_.kv_heads / problem_.heads;
    return static_cast<std::size_t>((b * problem_.seq_k + key) * problem_.kv_heads + kv_head) * d_;
  }
  double dot(const double* a, const double* b) const {
    double sum = 0;
    for (std::size_t i = 0; i < d_; ++i) sum += a[i] * b[i];
    return sum;
  }
  double sink(std::int64_t head) const {
    return problem_.sink.empty() ? -infinity : problem_.sink[static_cast<std::size_t>(head)];
  }

  void attend(std::int64_t b, std::int64_t head, std::int64_t query) {
    const Row row = probabilities(b, head, query);
    result_.lse[static_cast<std::size_t>((b * problem_.heads + head) * problem_.seq_q + query)] = row.lse;
    double* out = result_.out.data() + q_at(b, head, query);
    for (std::int64_t key = 0; key < problem_.seq_k; ++key) {
      const double p = row.p[static_cast<std::size_t>(key)];
      const double* v = in_.v.data() + k_at(b, head, key);
      for (std::size_t i = 0; i < d_ && p > 0; ++i) out[i] += p * v[i];
    }
    if (!in_.dout.empty()) gradients(b, head, query, row);
  }

  Row probabilities(std::int64_t b, std::int64_t head, std::int64_t query) {
    Row row;
    row.s.assign(static_cast<std::size_t>(problem_.seq_k), -infinity);
    row.slope.resize(row.s.size());
    row.p.resize(row.s.size());
    const std::int64_t i = query + problem_.seq_k - problem_.seq_q;
    double top = sink(head);
    for (std::int64_t j = 0; j < problem_.seq_k; ++j) {
      if (!problem_.mask.visible(i, j)) continue;
      score(row, static_cast<std::size_t>(j), dot(&in_.q[q_at(b, head, query)], &in_.k[k_at(b, head, j)]), head,
            std::abs(static_cast<double>(i - j)));
      top = std::max(top, row.s[static_cast<std::size_t>(j)]);
    }
    if (top == -infinity) return row;
    double sum = std::exp(sink(head) - top);
    for (const double s : row.s) sum += std::exp(s - top);
    row.lse = top + std::log(sum);
    for (std::size_t j = 0; j < row.s.size(); ++j) row.p[j] = round_(std::exp(row.s[j] - row.lse));
    return row;
  }

  void score(Row& row, std::size_t j, double qk, std::int64_t head, double distance) {
    double s = scale_ * qk;
    row.slope[j] = scale_;
    if (problem_.softcap > 0) {
      const double t = std::tanh(s / problem_.softcap);
      s = problem_.softcap * t;
      row.slope[j] = scale_ * (1 - t * t);
    }
    if (!problem_.alibi_slopes.empty()) s -= problem_.alibi_slopes[static_cast<std::size_t>(head)] * distance;
    row.s[j] = round_(s);
    result_.max_abs_score = std::max(result_.max_abs_score, std::abs(s));
  }

  void gradients(std::int64_t b, std::int64_t head, std::int64_t query, const Row& row) {
    const std::size_t at_q = q_at(b, head, query);
    const double* dout = &in_.dout[at_q];
    std::vector<double> dp(row.p.size());
    double delta = 0;  // sum_j p_j dp_j, which is dout.out
    for (std::size_t j = 0; j < dp.size(); ++j) {
      if (row.s[j] == -infinity) continue;
      dp[j] = round_(dot(dout, &in_.v[k_at(b, head, static_cast<std::int64_t>(j))]));
      delta += row.p[j] * dp[j];
    }
    if (!problem_.sink.empty()) {
      const double p_sink = row.lse == -infinity ? 0 : std::exp(sink(head) - row.lse);
      result_.dsink[static_cast<std::size_t>(head)] -= p_sink * delta;
    }
    for (std::size_t j = 0; j < dp.size(); ++j) {
      if (row.s[j] == -infinity) continue;
      const double ds = round_(row.p[j] * (dp[j] - delta)) * row.slope[j];
      const std::size_t at_k = k_at(b, head, static_cast<std::int64_t>(j));
      for (std::size_t i = 0; i < d_; ++i) {
        result_.dv[at_k + i] += row.p[j] * dout[i];
        result_.dk[at_k + i] += ds * in_.q[at_q + i];
        result_.dq[at_q + i] += ds * in_.k[at_k + i];
      }
    }
  }

  const OracleProblem& problem_;
  const OracleTensors& in_;
  Rounding round_;
  std::size_t d_;
  double scale_ = 1;
  OracleResult result_;
};

}  // namespace

/// base and (local or extra), word by word; differences rather than sums, so that huge sizes do not wrap.
bool OracleMask::visible(std::int64_t i, std::int64_t j) const {
  // Two positions share a document if the same number of documents start at or before them.
  const auto started = [this](std::int64_t pos) {
    return std::ranges::count_if(cu_seqlens, [pos](std::int64_t start) { return start <= pos; });
  };
  if ((causal && j > i) || started(i) != started(j)) return false;
  const std::int64_t start = cu_seqlens.empty() ? 0 : cu_seqlens[static_cast<std::size_t>(started(i) - 1)];
  const std::int64_t own_i = i - start;
  const std::int64_t own_j = j - start;
  const auto chunk_of = [this](std::int64_t x) { return x / chunk_size - (x % chunk_size < 0 ? 1 : 0); };
  const bool in_window = (left < 0 || i - j <= left) && (right < 0 || j - i <= right);
  const bool in_chunk = chunk_size == 0 || chunk_of(own_i) == chunk_of(own_j);
  const bool is_sink = own_j < sink_tokens;
  const bool is_global = (0 <= own_i && own_i < global_tokens) || own_j < global_tokens;
  const bool on_stride = stride > 0 && (i - j) % stride == 0;
  return (in_window && in_chunk) || is_sink || is_global || on_stride;
}

OracleResult oracle(const OracleProblem& problem, const OracleTensors& tensors) {
  return Plain(problem, tensors, Rounding{}).run();
}

OracleResult plain_attention_rounded(const OracleProblem& problem, const OracleTensors& tensors, DType dtype) {
  return Plain(problem, tensors, Rounding{dtype}).run();
}

}  // namespace annulus::test
