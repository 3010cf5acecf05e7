/// Times a kernel pass by pass on one thread.
// SPDX-License-Identifier: Apache-2.0
#include "launch/bench_kernel.hpp"

#include <fmt/format.h>

#include <cmath>

#include "launch/bench_tensors.hpp"
#include "launch/table.hpp"
#include "runtime/layout/mask.hpp"

namespace annulus::launch {
namespace {

using kernels::Direction;

std::string percent(double fraction) { return fmt::format("{:.0f} %", 100 * fraction); }
const char* mask_word(const KernelShape& shape) { return shape.mask.causal ? "causal" : "full"; }

}  // namespace

KernelBench::KernelBench(const KernelShape& shape)
    : shape_(shape),
      layout_(LayoutKind::contiguous, shape.rows, 1),
      mask_(block_mask(Mask(shape.mask, shape.rows, shape.rows), layout_, 0, layout_, 0)),
      tensors_(shape.dtype, shape.rows, shape.heads, shape.head_dim),
      packed_(static_cast<std::int64_t>(table().packed_bytes(block_shape(), shape.direction))) {
  problem_.q_rows = shape.rows;
  problem_.heads = problem_.kv_heads = shape.heads;
  problem_.head_dim = shape.head_dim;
  problem_.dtype = shape.dtype;
  problem_.softmax_scale = 1 / std::sqrt(static_cast<double>(shape.head_dim));
  if (shape.direction == Direction::forward) return;
  const Buffer<std::byte> forward_block(
      static_cast<std::int64_t>(table().packed_bytes(block_shape(), Direction::forward)));
  forward(forward_block.data());
  const auto gradient_size = static_cast<std::int64_t>(size_of(kernels::gradient_dtype(shape.dtype)));
  gradient_ = Buffer<std::byte>(table().gradient_elements(block_shape()) * gradient_size);
}

KernelBench::Seconds KernelBench::run() {
  return shape_.direction == Direction::forward ? forward(packed_.data()) : backward();
}

double KernelBench::flops() const {
  const double per_pair = shape_.direction == Direction::forward ? 4 : 10;
  return per_pair * static_cast<double>(shape_.heads * shape_.head_dim) * static_cast<double>(mask_.pairs);
}

KernelBench::Seconds KernelBench::forward(std::byte* packed) {
  const double started = thread_cpu_seconds();
  table().pack(block_shape(), Direction::forward, tensors_.k, tensors_.v, packed, workers_);
  const auto pass = table().forward(problem_, tensors_.q, {workers_, memory_});
  const double packing_done = thread_cpu_seconds();
  pass->attend(block(packed), mask_.view(), [] {});
  const double attended = thread_cpu_seconds();
  pass->finish(tensors_.out, tensors_.lse);
  return {attended - packing_done, thread_cpu_seconds() - started};
}

KernelBench::Seconds KernelBench::backward() {
  const double started = thread_cpu_seconds();
  table().pack(block_shape(), Direction::backward, tensors_.k, tensors_.v, packed_.data(), workers_);
  const kernels::BackwardInputs inputs{tensors_.q, tensors_.out, tensors_.dout, tensors_.lse};
  const auto pass = table().backward(problem_, inputs, {workers_, memory_});
  const double packing_done = thread_cpu_seconds();
  pass->attend(block(packed_.data()), mask_.view(), gradient_.data(), [] {});
  const double attended = thread_cpu_seconds();
  table().unpack_gradient(block_shape(), gradient_.data(), tensors_.dk, tensors_.dv);
  pass->finish(tensors_.dq, {});
  return {attended - packing_done, thread_cpu_seconds() - started};
}

KernelRate measure_kernel(const KernelShape& shape, std::int64_t samples) {
  KernelBench bench(shape);
  KernelRate rate{shape, {}, {}, {}};
  bench.run();  // touches the memory
  for (std::int64_t i = 0; i < samples; ++i) {
    rate.peak.add(peak_burst(rate.products()));
    const KernelBench::Seconds seconds = bench.run();
    rate.attend.add(bench.flops() / seconds.attend * 1e-9);
    rate.whole.add(bench.flops() / seconds.whole * 1e-9);
  }
  return rate;
}

std::string kernel_table(const std::vector<KernelRate>& rates) {
  Table table({"backend", "dtype", "head_dim", "mask", "direction", "GFLOP/s", "p10..p90", "of peak",
               "with packing", "of peak"});
  for (const KernelRate& rate : rates) {
    table.add({std::string(rate.shape.table->name), std::string(name(rate.shape.dtype)),
               std::to_string(rate.shape.head_dim), mask_word(rate.shape), std::string(word(rate.shape.direction)),
               fmt::format("{:.1f}", rate.attend.median()),
               fmt::format("{:.1f}..{:.1f}", rate.attend.quantile(0.1), rate.attend.quantile(0.9)),
               percent(rate.attend_fraction()), fmt::format("{:.1f}", rate.whole.median()),
               percent(rate.whole_fraction())});
  }
  return table.text();
}

Json kernels_to_json(const std::vector<KernelRate>& rates) {
  Json entries = Json::array();
  for (const KernelRate& rate : rates) {
    for (const bool whole : {false, true}) {
      const Samples& gflops = whole ? rate.whole : rate.attend;
      entries.push_back({{"backend", rate.shape.table->name},
                         {"dtype", name(rate.shape.dtype)},
                         {"head_dim", rate.shape.head_dim},
                         {"mask", mask_word(rate.shape)},
                         {"direction", word(rate.shape.direction)},
                         {"whole", whole},
                         {"gflops", gflops.median()},
                         {"gflops_p10", gflops.quantile(0.1)},
                         {"gflops_p90", gflops.quantile(0.9)},
                         {"fraction", whole ? rate.whole_fraction() : rate.attend_fraction()}});
    }
  }
  return entries;
}

}  // namespace annulus::launch
