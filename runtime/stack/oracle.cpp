/// Plain loops in f64.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/oracle.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/stack/rms_norm.hpp"
#include "runtime/stack/rope.hpp"

namespace annulus::stack {
namespace {
std::vector<double> times(const float* w, std::int64_t rows, std::span<const double> x) {
  std::vector<double> y(static_cast<std::size_t>(rows));
  for (double& sum : y) {
    for (const double value : x) sum += static_cast<double>(*w++) * value;
  }
  return y;
}

std::vector<double> norm(std::span<const double> x) {
  double squares = 0;
  for (const double value : x) squares += value * value;
  const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) + rms_epsilon);
  std::vector<double> n(x.begin(), x.end());
  for (double& value : n) value *= scale;
  return n;
}

void rotate_row(const Rope& rope, std::int64_t head_dim, std::int64_t pos, std::vector<double>& row) {
  std::vector<double> cosines(static_cast<std::size_t>(rope.half()));
  std::vector<double> sines(cosines.size());
  rope.angles(pos, cosines.data(), sines.data());
  for (std::size_t head = 0; head < row.size(); head += static_cast<std::size_t>(head_dim)) {
    rotate(row.data() + head, rope.half(), cosines.data(), sines.data());
  }
}

/// Calls visit(row) for every visible row, in the same order each time.
template <class Visit>
void for_each_row(const KeyRows& keys, Visit&& visit) {
  for (const kernels::RowSpan& span : keys.visible) {
    for (std::int64_t row = span.begin; row < span.end; row += span.step) visit(row);
  }
}

template <class T>
void scores_of(const AttentionSpec& spec, std::span<const double> q, const KeyRows& keys, std::span<double> scores) {
  const double scale = spec.softmax_scale.value_or(1 / std::sqrt(static_cast<double>(spec.head_dim)));
  auto score = scores.begin();
  for_each_row(keys, [&](std::int64_t row) {
    const T* k = reinterpret_cast<const T*>(keys.k) + row * keys.stride;
    double dot = 0;
    for (std::size_t i = 0; i < q.size(); ++i) dot += q[i] * to_double(k[i]);
    *score = scale * dot;
    if (spec.softcap > 0) *score = spec.softcap * std::tanh(*score / spec.softcap);
    ++score;
  });
}

double largest(std::span<const double> values) {
  double found = -std::numeric_limits<double>::infinity();
  for (const double value : values) found = std::max(found, value);
  return found;
}

template <class T>
void weigh(std::span<const double> scores, const KeyRows& keys, AttentionParts& parts) {
  AttentionPart& exact = parts.exact;
  AttentionPart& plain = parts.plain;
  auto score = scores.begin();
  for_each_row(keys, [&](std::int64_t row) {
    const T* v = reinterpret_cast<const T*>(keys.v) + row * keys.stride;
    const double p = std::exp(*score - exact.max);
    const double plain_p = std::exp(to_double(from_double<T>(*score)) - plain.max);
    const double rounded_p = to_double(from_double<T>(plain_p));
    exact.sum += p;
    plain.sum += plain_p;
    for (std::size_t i = 0; i < parts.magnitude.size(); ++i) {
      const double value = to_double(v[i]);
      exact.weighted[i] += p * value;
      plain.weighted[i] += rounded_p * value;
      parts.magnitude[i] += p * std::abs(value);
      parts.squares[i] += p * value * p * value;
    }
    ++score;
  });
}
}  // namespace

double round_to(DType dtype, double x) {
  return with_dtype(dtype, [&](auto type) { return to_double(from_double<decltype(type)>(x)); });
}

QkvRow project_row(const LayerSpec& spec, const LayerWeights& weights, std::span<const double> x, std::int64_t pos) {
  const auto width = static_cast<std::int64_t>(x.size());
  const std::int64_t head_dim = spec.attention.head_dim;
  const std::int64_t kv = spec.attention.kv_heads * head_dim;
  const Rope rope(spec.rope, head_dim);
  const std::vector<double> n = norm(x);
  const float* w = weights.qkv.data();
  QkvRow row{times(w, width, n), times(w + width * width, kv, n), times(w + (width + kv) * width, kv, n)};
  rotate_row(rope, head_dim, pos, row.q);
  rotate_row(rope, head_dim, pos, row.k);
  return row;
}

std::vector<double> residual_row(const ModelSpec& model, const LayerWeights& weights, std::span<const double> x,
                                 std::span<const double> out) {
  std::vector<double> sum = times(weights.out.data(), model.width(), out);
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] = model.kept() * x[i] + model.added() * sum[i];
  return sum;
}

AttentionParts attend_part(const AttentionSpec& spec, std::span<const double> q, const KeyRows& keys, double sink,
                           std::span<double> scores) {
  std::int64_t count = 0;
  for (const kernels::RowSpan& span : keys.visible) count += span.rows();
  scores = scores.first(static_cast<std::size_t>(count));
  AttentionParts parts;
  for (std::vector<double>* sums : {&parts.exact.weighted, &parts.plain.weighted, &parts.magnitude, &parts.squares})
    sums->resize(q.size());
  with_dtype(spec.dtype, [&](auto type) {
    using T = decltype(type);
    scores_of<T>(spec, q, keys, scores);
    parts.exact.max = std::max(largest(scores), sink);
    parts.plain.max = round_to(spec.dtype, parts.exact.max);
    if (sink != no_sink) {
      parts.exact.sum = std::exp(sink - parts.exact.max);
      parts.plain.sum = std::exp(sink - parts.plain.max);
    }
    for (const double score : scores) parts.largest_score = std::max(parts.largest_score, std::abs(score));
    weigh<T>(scores, keys, parts);
  });
  return parts;
}

}  // namespace annulus::stack
