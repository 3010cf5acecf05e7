/// What happens row by row, one warp per row: the end of forward and the start of backward; and the sum of gradients.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include "kernels/base/dtype.hpp"
#include "kernels/cuda/args.hpp"
#include "kernels/cuda/machine.hpp"
#include "kernels/cuda/scores.hpp"

namespace annulus::kernels::cuda {

struct RowKernelConfig {
  static constexpr int warps = 4;
  static constexpr int threads = warps * lanes;
  static constexpr int blocks_per_processor = 1;
  static constexpr int shared_bytes = 0;
};

/// out = O / weight;  lse = ln 2 (m + log2 l), with exp(sink) added to both sums once; out = 0 and lse = -infinity
/// without any.
template <class Out, int width>
struct FinishKernel : RowKernelConfig {
  using Args = FinishArgs;
  template <class Machine>
  static ANNULUS_DEVICE void run(Machine& machine, const Args& args) {
    const std::int64_t task = machine.block() * warps + machine.warp();
    if (task >= static_cast<std::int64_t>(args.batch) * args.heads * args.rows) return;
    const auto row = static_cast<std::int32_t>(task % args.rows);
    const std::int64_t pair = task / args.rows;
    const auto head = static_cast<std::int32_t>(pair % args.heads);
    const std::int64_t at = pair * args.padded_rows + row;
    const std::int64_t out_row = (pair / args.heads * args.rows + row) * args.heads + head;
    const bool attended = args.attended != 0;
    const float m = attended ? machine.load(args.m + at) : minus_infinity;
    const float l = attended ? machine.load(args.l + at) : 0;
    const float rounded = attended ? machine.load(args.weight + at) : 0;
    const float sink = args.sink == nullptr ? minus_infinity : machine.load(args.sink + head) * log2_e;

    const float top = machine.larger(m, sink);
    const bool empty = top == minus_infinity;
    const float rescale = empty ? 0 : machine.exp2(m - top);
    const float of_sink = empty ? 0 : machine.exp2(sink - top);
    const float sum = machine.fma(l, rescale, of_sink);
    const float norm = rescale == 0 ? 0 : rescale / machine.fma(rounded, rescale, of_sink);
    for (int column = 2 * machine.lane(); column < args.head_dim; column += 2 * lanes) {
      const Float2 o =
          attended ? machine.load(reinterpret_cast<const Float2*>(args.o + at * width + column)) : Float2{};
      store(machine, static_cast<Out*>(args.out) + out_row * args.head_dim + column, o.x * norm, o.y * norm);
    }
    constexpr float ln_2 = 0.6931471805599453F;
    const float lse = empty ? minus_infinity : (top + machine.log2(sum)) * ln_2;
    if (machine.lane() == 0) machine.store(args.lse + pair * args.rows + row, lse);
  }

 private:
  template <class Machine>
  static ANNULUS_DEVICE void store(Machine& machine, Out* out, float x, float y) {
    if constexpr (std::is_same_v<Out, float>) {
      machine.store(reinterpret_cast<Float2*>(out), Float2{x, y});
    } else {
      machine.store(reinterpret_cast<std::uint32_t*>(out), machine.template pair<Out>(x, y));
    }
  }
};

/// delta = dout.out, always summed in the same order.
template <class T, int width>
struct DeltaKernel : RowKernelConfig {
  using Args = DeltaArgs;
  template <class Machine>
  static ANNULUS_DEVICE void run(Machine& machine, const Args& args) {
    const std::int64_t row = machine.block() * warps + machine.warp();
    if (row >= args.rows) return;
    float sum = 0;
    ANNULUS_UNROLL
    for (int j = 0; j < width / (2 * lanes); ++j) {
      const std::int64_t at = row * width + 2 * (j * lanes + machine.lane());
      const Float2 dout = load(machine, static_cast<const T*>(args.dout) + at);
      const Float2 out = machine.load(reinterpret_cast<const Float2*>(args.out + at));
      sum = machine.fma(dout.x, out.x, machine.fma(dout.y, out.y, sum));
    }
    ANNULUS_UNROLL
    for (int mask = 1; mask < lanes; mask *= 2) sum += machine.shuffle_xor(sum, mask);
    if (machine.lane() == 0) machine.store(args.delta + row, sum);
  }

 private:
  template <class Machine>
  static ANNULUS_DEVICE Float2 load(Machine& machine, const T* p) {
    if constexpr (std::is_same_v<T, float>) {
      return machine.load(reinterpret_cast<const Float2*>(p));
    } else {
      return machine.template floats<T>(machine.load(reinterpret_cast<const std::uint32_t*>(p)));
    }
  }
};

/// sum += term, of two arrays of f32: one thread per four elements.
struct AddKernel : RowKernelConfig {
  using Args = AddArgs;
  template <class Machine>
  static ANNULUS_DEVICE void run(Machine& machine, const Args& args) {
    const std::int64_t quad = machine.block() * threads + machine.thread();
    if (quad >= args.quads) return;
    Float4* const sum = reinterpret_cast<Float4*>(args.sum) + quad;
    const Float4 a = machine.load(static_cast<const Float4*>(sum));
    const Float4 b = machine.load(reinterpret_cast<const Float4*>(args.term) + quad);
    machine.store(sum, Float4{a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w});
  }
};

}  // namespace annulus::kernels::cuda
