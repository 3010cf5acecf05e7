/// Fills stacks, and computes what they must give by plain loops.
// SPDX-License-Identifier: Apache-2.0
#include "tests/runtime/stack/stack_case.hpp"

#include <cmath>
#include <numeric>
#include <sstream>
#include <utility>

#include "runtime/stack/digest.hpp"
#include "tests/support/oracle.hpp"
#include "tests/support/random_tensors.hpp"

namespace annulus::test {
namespace {

constexpr std::uint64_t input_seed = 11;

std::vector<double> normed(const double* x, std::int64_t width) {
  const double squares = std::inner_product(x, x + width, x, 0.0);
  const double root = std::sqrt(squares / static_cast<double>(width) + 1e-6);
  std::vector<double> n(x, x + width);
  for (double& value : n) value /= root;
  return n;
}

/// Appends W x for rows [begin, begin + count) of W.
void append_product(const Buffer<float>& w, std::int64_t begin, std::int64_t count, const std::vector<double>& x,
                    std::vector<double>& to) {
  const float* row = w.data() + begin * static_cast<std::int64_t>(x.size());
  for (std::int64_t i = 0; i < count; ++i, row += x.size())
    to.push_back(std::inner_product(x.begin(), x.end(), row, 0.0));
}

/// Turns every head of a row [heads, head_dim] in the half-split order, by positions that are divided by a factor.
void turn(const stack::RopeSpec& rope, double* row, std::int64_t heads, std::int64_t head_dim, std::int64_t pos) {
  const std::int64_t half = head_dim / 2;
  for (std::int64_t i = 0; i < half; ++i) {
    const double angle = static_cast<double>(pos) / rope.factor *
                         std::pow(rope.theta, -static_cast<double>(i) / static_cast<double>(half));
    for (double* head = row; head != row + heads * head_dim; head += head_dim) {
      const double a = head[i];
      const double b = head[i + half];
      head[i] = a * std::cos(angle) - b * std::sin(angle);
      head[i + half] = a * std::sin(angle) + b * std::cos(angle);
    }
  }
}

OracleProblem problem_of(const AttentionSpec& spec, const std::vector<float>& sink) {
  return {.batch = spec.batch,
          .seq_q = spec.seq_q,
          .seq_k = spec.seq_k,
          .heads = spec.heads,
          .kv_heads = spec.kv_heads,
          .head_dim = spec.head_dim,
          .mask = {.causal = spec.mask.causal,
                   .left = spec.mask.window_size.left,
                   .right = spec.mask.window_size.right,
                   .chunk_size = spec.mask.chunk_size,
                   .sink_tokens = spec.mask.sink_tokens,
                   .global_tokens = spec.mask.global_tokens,
                   .stride = spec.mask.stride,
                   .cu_seqlens = spec.mask.cu_seqlens},
          .softmax_scale = spec.softmax_scale,
          .softcap = spec.softcap,
          .sink = sink};
}

Execution execution_of(const StackCase& chosen) { return {.exchange = chosen.exchange, .threads = chosen.threads}; }

}  // namespace

StackCase StackCase::small(std::int64_t seq_len, DType dtype) {
  StackCase chosen;
  chosen.model.attention = {.batch = 2,
                            .seq_q = seq_len,
                            .seq_k = seq_len,
                            .heads = 4,
                            .kv_heads = 2,
                            .head_dim = 12,
                            .dtype = dtype,
                            .mask = {.causal = true}};
  chosen.model.seed = 5;
  return chosen;
}

StackCase StackCase::mixed(std::int64_t seq_len, DType dtype) {
  StackCase chosen = small(seq_len, dtype);
  stack::ModelSpec& model = chosen.model;
  model.layers = 4;
  model.pattern = "LLGL";
  model.local_masks = {{.causal = true, .window_size = {6, 0}, .sink_tokens = 2},
                       {.causal = true, .window_size = {2, 0}, .chunk_size = 9, .sink_tokens = 1},
                       {.causal = true, .window_size = {4, 0}, .sink_tokens = 2}};
  model.rope = {.theta = 500, .scaling = stack::RopeScaling::linear, .factor = 4};
  model.local_rope = {.theta = 100};
  model.residual_alpha = 0.7;
  model.attention.sink = true;
  model.attention.softcap = 3;
  return chosen;
}

std::string StackCase::describe() const {
  std::ostringstream words;
  words << model.attention.seq_q << " tokens, " << name(model.attention.dtype) << ", " << name(layout.kind) << "/"
        << layout.stripe << ", " << name(exchange) << ", " << threads << " threads, halo " << stack::name(local_halo);
  return words.str();
}

StackRun::StackRun(const Communicator& comm, const StackCase& chosen)
    : comm_(comm), stack_(comm, chosen.layout, chosen.model, execution_of(chosen), chosen.direction, chosen.local_halo) {
  const AttentionSpec& spec = stack_.model().attention;
  const TensorView x =
      dense_view(stack_.input().data(), spec.dtype, spec.batch, stack_.input_rows().rows(), 1, stack_.model().width());
  fill_random(x, input_seed, Role::q, stack_.input_rows().positions());
}

std::vector<double> StackRun::rows_of(const std::vector<double>& whole) const {
  const AttentionSpec& spec = stack_.model().attention;
  const std::vector<std::int64_t> positions = stack_.layout().positions(comm_.rank());
  return select_rows(whole, spec.batch, spec.seq_q, stack_.model().width(), positions);
}

std::vector<double> StackRun::output() const {
  const AttentionSpec& spec = stack_.model().attention;
  return values(dense_view(stack_.output().data(), spec.dtype, spec.batch, stack_.rows(), 1, stack_.model().width()));
}

std::vector<double> StackRun::gradient() { return {stack_.gradient().begin(), stack_.gradient().end()}; }

std::string StackRun::output_digest() const { return digest_of(stack_.output(), stack_.model().attention.dtype); }

std::string StackRun::gradient_digest() { return digest_of(std::as_bytes(stack_.gradient()), DType::f32); }

std::string StackRun::digest_of(std::span<const std::byte> rows, DType dtype) const {
  const auto row_bytes = stack_.model().width() * static_cast<std::int64_t>(size_of(dtype));
  return stack::digest(comm_, stack_.layout(), stack_.model().attention.batch, row_bytes, rows);
}

PlainStack::PlainStack(const StackCase& chosen) : model_(chosen.model) {
  Workers workers(1);
  for (std::int64_t i = 0; i < model_.layers; ++i) weights_.push_back(stack::layer_weights(model_, i, workers));
  const AttentionSpec& spec = model_.attention;
  input_ = values(
      random_tensor(spec.dtype, input_seed, Role::q, spec.batch, all_positions(spec.seq_q), 1, model_.width()).view());
}

std::vector<double> PlainStack::layer(const stack::LayerSpec& layer, const stack::LayerWeights& weights,
                                      const std::vector<double>& x) const {
  const AttentionSpec& spec = layer.attention;
  const std::int64_t width = model_.width();
  const std::int64_t kv = model_.kv_width();
  OracleTensors tensors;
  for (std::int64_t row = 0; row < spec.batch * spec.seq_q; ++row) {
    const std::vector<double> n = normed(x.data() + row * width, width);
    append_product(weights.qkv, 0, width, n, tensors.q);
    append_product(weights.qkv, width, kv, n, tensors.k);
    append_product(weights.qkv, width + kv, kv, n, tensors.v);
    turn(layer.rope, tensors.q.data() + row * width, spec.heads, spec.head_dim, row % spec.seq_q);
    turn(layer.rope, tensors.k.data() + row * kv, spec.kv_heads, spec.head_dim, row % spec.seq_q);
  }
  const std::vector<double> out = oracle(problem_of(spec, weights.sink), tensors).out;
  std::vector<double> update;
  for (auto row = out.begin(); row != out.end(); row += width) {
    append_product(weights.out, 0, width, {row, row + width}, update);
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::optional<double> alpha = model_.residual_alpha;
    update[i] = alpha ? *alpha * x[i] + (1 - *alpha) * update[i] : x[i] + update[i];
  }
  return update;
}

std::vector<double> PlainStack::forward(std::vector<double> x) const {
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    x = layer(model_.layer(static_cast<std::int64_t>(i)), weights_[i], x);
  }
  return x;
}

std::vector<double> PlainStack::gradient(const std::vector<double>& dout) const {
  constexpr double step = 1e-5;
  const auto loss = [&](const std::vector<double>& x) {
    const std::vector<double> y = forward(x);
    return std::inner_product(y.begin(), y.end(), dout.begin(), 0.0);
  };
  std::vector<double> x = input_;
  std::vector<double> slopes;
  for (double& value : x) {
    const double at = std::exchange(value, value + step);
    const double up = loss(x);
    value = at - step;
    slopes.push_back((up - loss(x)) / (2 * step));
    value = at;
  }
  return slopes;
}

}  // namespace annulus::test
