/// The operations that cuDNN is given, computed one by one in f64: they are attention and its gradients.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "kernels/cuda/cudnn_sdpa.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/oracle.hpp"

namespace annulus::test {
namespace {

using namespace kernels::cuda;
using namespace kernels::cuda::cudnn;

using Values = std::vector<double>;

/// Memory of a graph's tensors; views share it.
class Machine {
 public:
  explicit Machine(const Graph& graph) : graph_(graph) {
    for (std::size_t i = 0; i < graph.tensors().size(); ++i) home_[static_cast<Tensor>(i)] = static_cast<Tensor>(i);
  }
  Values& values(Tensor tensor) { return memory_[home_.at(tensor)]; }

  void run() {
    for (const Operation& operation : graph_.operations()) {
      if (operation.kind == Operation::Kind::view) {
        home_[operation.y] = home_[operation.x];
        continue;
      }
      const Extents dims = form(operation.y).dims;
      values(operation.y).resize(static_cast<std::size_t>(dims[0] * dims[1] * dims[2] * dims[3]), NAN);
      for (std::int64_t b = 0; b < dims[0]; ++b) {
        for (std::int64_t h = 0; h < dims[1]; ++h) {
          for (std::int64_t r = 0; r < dims[2]; ++r) {
            for (std::int64_t c = 0; c < dims[3]; ++c) at(operation.y, {b, h, r, c}) = element(operation, {b, h, r, c});
          }
        }
      }
    }
  }

 private:
  const Form& form(Tensor tensor) const { return graph_.tensors()[static_cast<std::size_t>(tensor)].form; }
  /// Extents of 1 are broadcast.
  double& at(Tensor tensor, Extents place) {
    const Form& of = form(tensor);
    std::int64_t offset = 0;
    for (std::size_t i = 0; i < place.size(); ++i) offset += of.dims[i] == 1 ? 0 : place[i] * of.strides[i];
    return values(tensor).at(static_cast<std::size_t>(offset));
  }
  double element(const Operation& operation, const Extents& place) {
    if (operation.kind == Operation::Kind::pointwise) return pointwise(operation, place);
    const std::int64_t terms = form(operation.x).dims[3];
    const bool is_max = operation.kind == Operation::Kind::reduce && operation.reduction == Reduction::max;
    double result = is_max ? -std::numeric_limits<double>::infinity() : 0;
    for (std::int64_t i = 0; i < terms; ++i) {
      const double x = at(operation.x, {place[0], place[1], place[2], i});
      if (operation.kind == Operation::Kind::matmul) {
        result += x * at(operation.b, {place[0], place[1], i, place[3]});
      } else {
        result = is_max ? std::max(result, x) : result + x;
      }
    }
    return result;
  }
  double pointwise(const Operation& operation, const Extents& place) {
    if (operation.mode == Pointwise::row_index) return static_cast<double>(place[2]);
    if (operation.mode == Pointwise::column_index) return static_cast<double>(place[3]);
    const double x = at(operation.x, place);
    const double b = operation.b < 0 ? 0 : at(operation.b, place);
    switch (operation.mode) {
      case Pointwise::add: return x + b;
      case Pointwise::subtract: return x - b;
      case Pointwise::multiply: return x * b;
      case Pointwise::divide: return x / b;
      case Pointwise::exp: return std::exp(x);
      case Pointwise::log: return std::log(x);
      case Pointwise::at_least: return x >= b ? 1 : 0;
      case Pointwise::select: return at(operation.t, place) != 0 ? x : b;
      default: return x;
    }
  }

  const Graph& graph_;
  std::map<Tensor, Tensor> home_;
  std::map<Tensor, Values> memory_;
};

void bind_numbers(Machine& machine, const SdpaTensors& tensors, std::int64_t head_dim) {
  machine.values(tensors.scale) = {1 / std::sqrt(static_cast<double>(head_dim))};
  if (tensors.lowest >= 0) machine.values(tensors.lowest) = {-std::numeric_limits<double>::infinity()};
  if (tensors.one >= 0) machine.values(tensors.one) = {1};
}

Values waves(std::size_t size, double pace) {
  Values values(size);
  for (std::size_t i = 0; i < size; ++i) values[i] = std::sin(pace * static_cast<double>(i) + pace);
  return values;
}

void expect_near(const char* what, const Values& got, const Values& want) { EXPECT_LE(relative_error(got, want), 1e-6) << what; }

TEST(SdpaGraph, IsAttentionAndItsGradients) {
  for (const bool causal : {false, true}) {
    const PeerShape shape{DType::bf16, 2, 3, 11, 4, causal, kernels::Direction::forward};
    const OracleProblem problem{.batch = 2, .seq_q = 11, .seq_k = 11, .heads = 3, .kv_heads = 3, .head_dim = 4, .mask = {.causal = causal}};
    const std::size_t size = 2 * 11 * 3 * 4;
    const OracleTensors in{.q = waves(size, 0.7), .k = waves(size, 1.3), .v = waves(size, 0.4), .dout = waves(size, 1.9)};
    const OracleResult want = oracle(problem, in);

    Graph forward;
    const SdpaTensors f = add_forward(forward, shape);
    Machine first(forward);
    bind_numbers(first, f, 4);
    first.values(f.q) = in.q;
    first.values(f.k) = in.k;
    first.values(f.v) = in.v;
    first.run();
    expect_near("out", first.values(f.out), want.out);
    expect_near("stats", first.values(f.stats), want.lse);

    Graph backward;
    const SdpaTensors b = add_backward(backward, shape);
    Machine second(backward);
    bind_numbers(second, b, 4);
    second.values(b.q) = in.q;
    second.values(b.k) = in.k;
    second.values(b.v) = in.v;
    second.values(b.dout) = in.dout;
    second.values(b.out) = first.values(f.out);
    second.values(b.stats) = first.values(f.stats);
    second.run();
    expect_near("dq", second.values(b.dq), want.dq);
    expect_near("dk", second.values(b.dk), want.dk);
    expect_near("dv", second.values(b.dv), want.dv);
  }
}

}  // namespace
}  // namespace annulus::test
