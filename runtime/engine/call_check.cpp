/// Argument checks.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/call_check.hpp"

#include <cmath>
#include <string>

#include "kernels/base/checked.hpp"

namespace annulus {
namespace {

constexpr std::int64_t max_head_dim = 256;
constexpr double smallest_scale = 1e-6;
constexpr double largest_scale = 1e6;

void require(bool holds, const std::string& message) {
  if (!holds) throw UsageError(message);
}

std::string text(std::int64_t number) { return std::to_string(number); }

void check_heads(const AttentionSpec& spec) {
  require(spec.heads >= 1 && spec.kv_heads >= 1, text(spec.heads) + " heads and " + text(spec.kv_heads) +
                                                     " kv_heads (both must be positive); try 1 or more");
  require(spec.heads % spec.kv_heads == 0,
          text(spec.heads) + " heads cannot share " + text(spec.kv_heads) +
              " kv_heads (every kv head serves the same number of heads); try a divisor of " + text(spec.heads));
  require(spec.head_dim >= 1 && spec.head_dim <= max_head_dim,
          "head_dim " + text(spec.head_dim) + " is not supported (kernels keep a row of it in registers); try 1 to 256");
}

void check_scores(const AttentionSpec& spec) {
  // Not 0, also once it is f32: a masked score is -infinity, and 0 times that is no number. Not negative: the largest q.k
  // bounds the row. The range keeps softmax_scale / softcap far from the ends of f32.
  const auto in_range = [](double x) { return x >= smallest_scale && x <= largest_scale; };
  require(!spec.softmax_scale || in_range(*spec.softmax_scale),
          "softmax_scale must be a number from 1e-6 to 1e6 (scores are softmax_scale * q.k); try 1/sqrt(head_dim)");
  require(spec.softcap == 0 || in_range(spec.softcap),
          "softcap must be 0 (none) or a number from 1e-6 to 1e6 (scores are bounded by it); try 0, or 30");
  require(spec.alibi_slopes.empty() || static_cast<std::int64_t>(spec.alibi_slopes.size()) == spec.heads,
          text(static_cast<std::int64_t>(spec.alibi_slopes.size())) + " ALiBi slopes for " + text(spec.heads) +
              " heads (one slope per head)");
  for (const float slope : spec.alibi_slopes) require(std::isfinite(slope), "an ALiBi slope is not finite");
}

template <class View>
void check_view(const char* what, const View& view, std::int64_t batch, std::int64_t rows, std::int64_t heads,
                std::int64_t head_dim) {
  const auto shape = [](std::int64_t b, std::int64_t r, std::int64_t h, std::int64_t d) {
    return "[" + text(b) + ", " + text(r) + ", " + text(h) + ", " + text(d) + "]";
  };
  require(view.batch == batch && view.rows == rows && view.heads == heads && view.head_dim == head_dim,
          std::string(what) + " has shape " + shape(view.batch, view.rows, view.heads, view.head_dim) + " but this rank's is " +
              shape(batch, rows, heads, head_dim) + " [batch, rows, heads, head_dim]");
  require(view.data != nullptr || batch * rows == 0, std::string(what) + " points nowhere");
}

void check_stats(const ConstRowStats& lse, const AttentionSpec& spec, std::int64_t q_rows) {
  require(lse.batch == spec.batch && lse.heads == spec.heads && lse.rows == q_rows,
          "lse has shape [" + text(lse.batch) + ", " + text(lse.heads) + ", " + text(lse.rows) + "] but this rank's is [" +
              text(spec.batch) + ", " + text(spec.heads) + ", " + text(q_rows) + "] [batch, heads, rows]");
  require(lse.data != nullptr || q_rows == 0, "lse points nowhere");
}

void check_list(const char* what, std::size_t size, const AttentionSpec& spec) {
  const std::size_t expected = spec.sink ? static_cast<std::size_t>(spec.heads) : 0;
  require(size == expected, std::string(what) + " has " + std::to_string(size) + " values but the spec asks for " +
                                std::to_string(expected) + " (one per head with a learned sink, else none)");
}

template <class Call>
void check_inputs(const AttentionSpec& spec, std::int64_t q_rows, std::int64_t k_rows, const Call& call) {
  check_view("q", call.q, spec.batch, q_rows, spec.heads, spec.head_dim);
  check_view("k", call.k, spec.batch, k_rows, spec.kv_heads, spec.head_dim);
  check_view("v", call.v, spec.batch, k_rows, spec.kv_heads, spec.head_dim);
  for (const DType dtype : {call.q.dtype, call.k.dtype, call.v.dtype}) {
    require(dtype == spec.dtype, "q, k and v must be " + std::string(name(spec.dtype)) + " as the spec says, not " +
                                     std::string(name(dtype)));
  }
  check_view("out", call.out, spec.batch, q_rows, spec.heads, spec.head_dim);
  check_stats(call.lse, spec, q_rows);
  check_list("sink", call.sink.size(), spec);
}

}  // namespace

void check_spec(const AttentionSpec& spec) {
  require(spec.batch >= 1 && spec.seq_q >= 0 && spec.seq_k >= 0,
          "batch " + text(spec.batch) + " of " + text(spec.seq_q) + " queries and " + text(spec.seq_k) +
              " keys is no attention; try positive numbers");
  check_heads(spec);
  check_scores(spec);
  checked_product({spec.batch, spec.seq_q, spec.heads, spec.head_dim, 8});
  checked_product({spec.batch, spec.seq_k, spec.kv_heads, spec.head_dim, 8});
}

void check_call(const AttentionSpec& spec, std::int64_t q_rows, std::int64_t k_rows, const ForwardCall& call) {
  check_inputs(spec, q_rows, k_rows, call);
}

void check_call(const AttentionSpec& spec, std::int64_t q_rows, std::int64_t k_rows, const BackwardCall& call) {
  check_inputs(spec, q_rows, k_rows, call);
  check_view("dout", call.dout, spec.batch, q_rows, spec.heads, spec.head_dim);
  check_view("dq", call.dq, spec.batch, q_rows, spec.heads, spec.head_dim);
  check_view("dk", call.dk, spec.batch, k_rows, spec.kv_heads, spec.head_dim);
  check_view("dv", call.dv, spec.batch, k_rows, spec.kv_heads, spec.head_dim);
  check_list("dsink", call.dsink.size(), spec);
}

}  // namespace annulus
