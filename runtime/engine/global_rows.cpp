/// Own and visiting queries in one pass over own keys.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/global_rows.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/base/checked.hpp"
#include "runtime/engine/row_copy.hpp"

namespace annulus {

using kernels::Direction;

namespace {

DType carry_dtype(const AttentionSpec& spec) { return kernels::gradient_dtype(spec.dtype); }

/// (out, lse) of a row over some keys becomes that over these and those of `other`. `columns`: head_dim, one for lse.
template <class T>
void merge(T* row, const T* other, std::int64_t columns) {
  const std::int64_t last = columns - 1;
  const double lse = to_double(row[last]);
  const double other_lse = to_double(other[last]);
  const double top = std::max(lse, other_lse);
  if (top == -std::numeric_limits<double>::infinity()) return;  // neither saw a key
  const double weight = std::exp(lse - top);
  const double other_weight = std::exp(other_lse - top);
  const double sum = weight + other_weight;
  for (std::int64_t i = 0; i < last; ++i) {
    row[i] = from_double<T>((weight * to_double(row[i]) + other_weight * to_double(other[i])) / sum);
  }
  row[last] = from_double<T>(top + std::log(sum));
}

void merge_home(std::byte* row, const std::byte* arrived, const TensorView& view) {
  with_dtype(view.dtype, [&](auto element) {
    using T = decltype(element);
    merge(reinterpret_cast<T*>(row), reinterpret_cast<const T*>(arrived), view.head_dim);
  });
}

}  // namespace

GlobalRows::GlobalRows(const AttentionPlan& plan, const kernels::KernelTable& table, kernels::Resources resources)
    : plan_(plan),
      table_(table),
      resources_(resources),
      rows_(plan.global().visits.held()),
      positions_(query_positions(plan.spec(), plan.mask(), rows_)) {}

GlobalRows::Tensor GlobalRows::make(DType dtype, std::int64_t columns) {
  const AttentionSpec& spec = plan_.spec();
  const std::uint64_t bytes =
      checked_product({spec.batch, rows_.rows(), spec.heads, columns, static_cast<std::int64_t>(size_of(dtype))});
  Tensor tensor{Buffer<std::byte>(static_cast<std::int64_t>(bytes), resources_.memory), {}};
  tensor.memory.clear();
  tensor.view = dense_view(tensor.memory.data(), dtype, spec.batch, rows_.rows(), spec.heads, columns);
  return tensor;
}

/// The pass made here reads zeros and ends at once: its memory waits in the pool for the one that attend() makes when
/// rows are under way and no rank may fail.
void GlobalRows::reserve(Direction direction) {
  if (rows_.empty()) return;
  const AttentionSpec& spec = plan_.spec();
  const DType carry = carry_dtype(spec);
  const bool backward = direction == Direction::backward;
  direction_ = direction;
  for (Tensor* of_last_call : {&q_, &result_, &lse_, &out_, &dout_}) *of_last_call = {};
  q_ = make(spec.dtype, spec.head_dim);
  result_ = make(carry, backward ? spec.head_dim : spec.head_dim + 1);
  lse_ = make(DType::f32, 1);
  if (backward) {
    out_ = make(carry, spec.head_dim);
    dout_ = make(carry, spec.head_dim);
    backward_pass();
  } else {
    forward_pass();
  }
}

RowStats GlobalRows::lse() const {
  return dense_stats(reinterpret_cast<float*>(lse_.memory.data()), plan_.spec().batch, plan_.spec().heads,
                     rows_.rows());
}

/// The learned sink is no key of any rank: owners add it.
kernels::Problem GlobalRows::problem() const { return make_problem(plan_.spec(), rows_.rows(), positions_, {}); }

std::unique_ptr<kernels::ForwardPass> GlobalRows::forward_pass() {
  return table_.forward(problem(), q_.view, resources_);
}

std::unique_ptr<kernels::BackwardPass> GlobalRows::backward_pass() {
  return table_.backward(problem(), {q_.view, out_.view, dout_.view, lse()}, resources_);
}

void GlobalRows::take(const ConstTensorView& from, const TensorView& to) const {
  convert(plan_.global().visits.own, from, plan_.queries(), to, rows_);
}

void GlobalRows::give(const ConstTensorView& from, const TensorView& to) const {
  convert(plan_.global().visits.own, from, rows_, to, plan_.queries());
}

void GlobalRows::collect(const ForwardCall& call) { take(call.q, q_.view); }

/// out and dout in the carry's type: callers' own may differ between ranks.
void GlobalRows::collect(const BackwardCall& call) {
  take(call.q, q_.view);
  take(call.out, out_.view);
  take(call.dout, dout_.view);
  take(as_tensor<const std::byte>(call.lse), as_tensor<std::byte>(lse()));
}

std::vector<TensorView> GlobalRows::travelling() const {
  if (direction_ == Direction::forward) return {q_.view};
  return {q_.view, out_.view, dout_.view, as_tensor<std::byte>(lse())};
}

std::vector<TensorView> GlobalRows::returning() const { return {result_.view}; }

HaloExchange::Meet GlobalRows::meet_home() const { return direction_ == Direction::forward ? merge_home : nullptr; }

std::int64_t GlobalRows::attend(HeldKeys& keys) {
  if (rows_.empty()) return 0;
  if (direction_ == Direction::backward) {
    const auto pass = backward_pass();
    const std::int64_t pairs = keys.backward({rows_, rows_}, *pass, {});
    pass->finish(result_.view, {});
    return pairs;
  }
  const std::int64_t head_dim = plan_.spec().head_dim;
  const auto pass = forward_pass();
  const std::int64_t pairs = keys.forward({rows_, rows_}, *pass, {});
  pass->finish(some_columns(result_.view, 0, head_dim), lse());
  convert(as_tensor<const std::byte>(lse()), some_columns(result_.view, head_dim, 1));
  return pairs;
}

/// A sink is a key with v = 0, the same for all rows.
void GlobalRows::add_sink(std::span<const float> sink) const {
  const TensorView& view = result_.view;
  with_dtype(view.dtype, [&](auto element) {
    using T = decltype(element);
    std::vector<T> other(static_cast<std::size_t>(view.head_dim), from_float<T>(0));
    for (std::size_t head = 0; head < sink.size(); ++head) {
      if (!std::isfinite(sink[head])) continue;
      other.back() = from_float<T>(sink[head]);
      for (std::int64_t b = 0; b < view.batch; ++b) {
        for (std::int64_t row = 0; row < view.rows; ++row) {
          merge(view.at<T>(b, row, static_cast<std::int64_t>(head)), other.data(), view.head_dim);
        }
      }
    }
  });
}

void GlobalRows::settle(const ForwardCall& call) {
  if (rows_.empty()) return;
  const std::int64_t head_dim = plan_.spec().head_dim;
  add_sink(call.sink);
  give(some_columns(result_.view, 0, head_dim), call.out);
  give(some_columns(result_.view, head_dim, 1), as_tensor<std::byte>(call.lse));
}

void GlobalRows::settle(const BackwardCall& call) const {
  if (!rows_.empty()) give(result_.view, call.dq);
}

TripBytes GlobalRows::trip_bytes(const AttentionSpec& spec, Direction direction) {
  const auto q = static_cast<std::int64_t>(size_of(spec.dtype));
  const auto carry = static_cast<std::int64_t>(size_of(carry_dtype(spec)));
  const auto per_row = [&](std::int64_t bytes) { return checked_product({spec.batch, spec.heads, bytes}); };
  if (direction == Direction::forward) return {per_row(spec.head_dim * q), per_row((spec.head_dim + 1) * carry)};
  return {per_row(spec.head_dim * (q + 2 * carry) + static_cast<std::int64_t>(sizeof(float))),
          per_row(spec.head_dim * carry)};
}

std::uint64_t GlobalRows::bytes(const AttentionSpec& spec, const kernels::KernelTable& table, std::int64_t rows,
                                Direction direction) {
  constexpr std::int64_t most_spans = 2;  // with global tokens and no stride
  if (rows == 0) return 0;
  const TripBytes trip = trip_bytes(spec, direction);
  const std::uint64_t masks = checked_product({rows, most_spans, static_cast<std::int64_t>(sizeof(kernels::RowSpan))});
  return table.pass_bytes(make_problem(spec, rows, {}, {}), direction) + masks +
         checked_product({rows, static_cast<std::int64_t>(trip.there + trip.back)});
}

}  // namespace annulus
