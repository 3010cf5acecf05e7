/// Times a kernel pass by pass on one thread.
// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/kernel.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "launch/bench/tensors.hpp"
#include "launch/table.hpp"
#include "runtime/layout/mask.hpp"

namespace annulus::launch {
namespace {

using kernels::Direction;

std::string percent(double fraction) { return std::isfinite(fraction) ? fmt::format("{:.0f} %", 100 * fraction) : "-"; }

}  // namespace

const char* mask_word(const KernelShape& shape) { return shape.mask.causal ? "causal" : "full"; }

KernelBench::KernelBench(const KernelShape& shape)
    : shape_(shape),
      queries_(LayoutKind::contiguous, shape.rows, 1),
      keys_(LayoutKind::contiguous, shape.rows, shape.steps),
      tensors_(shape.dtype, shape.rows, shape.heads, shape.head_dim) {
  const Mask mask(shape.mask, shape.rows, shape.rows);
  for (int step = 0; step < shape.steps; ++step) {
    masks_.push_back(block_mask(mask, queries_, 0, keys_, step));
    pairs_ += masks_.back().pairs;
    packed_.emplace_back(static_cast<std::int64_t>(std::max(table().packed_bytes(block_shape(step), Direction::forward),
                                                            table().packed_bytes(block_shape(step), shape.direction))));
  }
  problem_.q_rows = shape.rows;
  problem_.heads = problem_.kv_heads = shape.heads;
  problem_.head_dim = shape.head_dim;
  problem_.dtype = shape.dtype;
  problem_.softmax_scale = 1 / std::sqrt(static_cast<double>(shape.head_dim));
  if (shape.direction == Direction::forward) return;
  forward();  // for out and lse
  const auto gradient_size = static_cast<std::int64_t>(size_of(kernels::gradient_dtype(shape.dtype)));
  for (int step = 0; step < shape.steps; ++step) {
    gradients_.emplace_back(table().gradient_elements(block_shape(step)) * gradient_size);
  }
}

KernelBench::Seconds KernelBench::run() {
  return shape_.direction == Direction::forward ? forward() : backward();
}

double KernelBench::flops() const {
  const double per_pair = shape_.direction == Direction::forward ? 4 : 10;
  return per_pair * static_cast<double>(shape_.heads * shape_.head_dim) * static_cast<double>(pairs_);
}

double KernelBench::now() const {
  if (!on_device()) return thread_cpu_seconds();
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <class Attend>
double KernelBench::timed(Attend&& attend) const {
  if (on_device()) (void)table().take_device_seconds();
  const double started = now();
  attend();
  return on_device() ? table().take_device_seconds() : now() - started;
}

/// The rows of a step's block.
template <class View>
View KernelBench::keys_of(View view, int step) const {
  view.data += keys_.position(step, 0) * view.row_stride * static_cast<std::int64_t>(size_of(view.dtype));
  view.rows = keys_.rows(step);
  return view;
}

void KernelBench::pack(Direction direction) {
  for (int step = 0; step < shape_.steps; ++step) {
    table().pack(block_shape(step), direction, keys_of(tensors_.k, step), keys_of(tensors_.v, step),
                 packed_[static_cast<std::size_t>(step)].data(), workers_);
  }
}

KernelBench::Seconds KernelBench::forward() {
  const double started = now();
  pack(Direction::forward);
  const auto pass = table().forward(problem_, tensors_.q, {workers_, memory_});
  const double attended = timed([&] {
    for (int step = 0; step < shape_.steps; ++step) {
      pass->attend(block(step), masks_[static_cast<std::size_t>(step)].view(), [] {});
    }
  });
  pass->finish(tensors_.out, tensors_.lse);
  return {attended, now() - started};
}

KernelBench::Seconds KernelBench::backward() {
  const double started = now();
  pack(Direction::backward);
  const kernels::BackwardInputs inputs{tensors_.q, tensors_.out, tensors_.dout, tensors_.lse};
  const auto pass = table().backward(problem_, inputs, {workers_, memory_, shape_.deterministic});
  const double attended = timed([&] {
    for (std::size_t step = 0; step < gradients_.size(); ++step) {
      pass->attend(block(static_cast<int>(step)), masks_[step].view(), gradients_[step].data(), [] {});
    }
  });
  for (int step = 0; step < shape_.steps; ++step) {
    table().unpack_gradient(block_shape(step), gradients_[static_cast<std::size_t>(step)].data(),
                            keys_of(tensors_.dk, step), keys_of(tensors_.dv, step));
  }
  pass->finish(tensors_.dq, {});
  return {attended, now() - started};
}

KernelRate measure_kernel(const KernelShape& shape, std::int64_t samples) {
  KernelBench bench(shape);
  KernelRate rate{shape, {}, {}, {}};
  bench.run();  // touches the memory
  for (std::int64_t i = 0; i < samples; ++i) {
    if (shape.table->take_device_seconds == nullptr) rate.peak.add(peak_burst(rate.products()));
    const KernelBench::Seconds seconds = bench.run();
    rate.attend.add(bench.flops() / seconds.attend * 1e-9);
    rate.whole.add(bench.flops() / seconds.whole * 1e-9);
  }
  return rate;
}

std::string kernel_table(const std::vector<KernelRate>& rates) {
  Table table({"backend", "dtype", "head_dim", "rows", "mask", "direction", "GFLOP/s", "p10..p90", "of peak",
               "with packing", "of peak"});
  for (const KernelRate& rate : rates) {
    table.add({std::string(rate.shape.table->name), std::string(name(rate.shape.dtype)),
               std::to_string(rate.shape.head_dim), std::to_string(rate.shape.rows), mask_word(rate.shape),
               std::string(word(rate.shape.direction)),
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
                         {"rows", rate.shape.rows},
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
