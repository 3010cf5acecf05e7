/// A stack on random activations, and the same layers in plain f64 on one process.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/stack/stack.hpp"

namespace annulus::test {

struct StackCase {
  stack::ModelSpec model;
  LayoutSpec layout = {LayoutKind::zigzag};
  ExchangeKind exchange = ExchangeKind::automatic;
  int threads = 1;
  stack::LocalHalo local_halo = stack::LocalHalo::automatic;
  kernels::Direction direction = kernels::Direction::forward;

  /// Causal, grouped heads, a head_dim that is no power of two, two batches.
  static StackCase small(std::int64_t seq_len, DType dtype = DType::f32);
  /// The same with layers LLGL, of which the local ones have windows of 7, 3 (and a chunk) and 5 tokens behind sinks, and
  /// positions of their own; learned sinks, a softcap and a weighted residual.
  static StackCase mixed(std::int64_t seq_len, DType dtype = DType::f32);
  std::string describe() const;
};

/// A stack with its input filled: the values are a function of the global position. Collective.
class StackRun {
 public:
  StackRun(const Communicator& comm, const StackCase& chosen);

  stack::Stack& stack() { return stack_; }
  /// This rank's rows of a tensor [batch, seq, width], as doubles.
  std::vector<double> rows_of(const std::vector<double>& whole) const;
  std::vector<double> output() const;
  std::vector<double> gradient();
  /// Collective.
  std::string output_digest() const;
  std::string gradient_digest();

 private:
  std::string digest_of(std::span<const std::byte> rows, DType dtype) const;

  const Communicator& comm_;
  stack::Stack stack_;
};

/// The layers by the formula of ModelSpec, in f64 throughout; only the weights are shared with what it judges.
class PlainStack {
 public:
  explicit PlainStack(const StackCase& chosen);

  /// [batch, seq, width], rounded to the dtype of the model.
  const std::vector<double>& input() const { return input_; }
  std::vector<double> forward(std::vector<double> x) const;
  /// d sum(forward(x) * dout) / dx at the input by central differences.
  std::vector<double> gradient(const std::vector<double>& dout) const;

 private:
  std::vector<double> layer(const stack::LayerSpec& spec, const stack::LayerWeights& weights,
                            const std::vector<double>& x) const;

  stack::ModelSpec model_;
  std::vector<stack::LayerWeights> weights_;
  std::vector<double> input_;
};

}  // namespace annulus::test
