/// The vocabulary that kernel bodies are written in. Two machines speak it: PtxMachine (ptx_machine.cuh, nvcc) and the
/// emulator of the tests (tests/support/emulated_machine.hpp, any C++ compiler).
// SPDX-License-Identifier: Apache-2.0
//
// A body is a template over its Machine and runs once per CUDA thread. What a machine offers:
//
//   int thread(), lane(), warp()                  place in the block; std::int64_t block(), blocks(): place in the grid
//   T load(const T* p); store(T* p, T x)          global memory, T of 1 to 16 bytes, p a multiple of its size
//   T load_shared<T>(at); store_shared(at, x)     dynamic shared memory; `at` is a byte offset from its begin
//   sync()                                        all threads of the block
//   shuffle_xor(x, mask), shuffle(x, lane)        float, whole warp
//   all(condition)                                true if it holds in every lane, whole warp
//   load_matrices(at, r), load_matrices_transposed(at, r)   ldmatrix .x4 of 8x8 elements of 16 bits, whole warp
//   multiply<T>(c, a, b0, b1)                     mma m16n8k16, f32 += T x T, whole warp; T is bf16 or f16
//   copy_async(at, p, valid)                      16 bytes to shared memory, zeros unless valid; p readable either way
//   commit(); wait_all()                          of the thread's own copies; then sync() before others read them
//   pair<T>(low, high)                            two floats rounded to a word of T
//   floats<T>(word)                               and back, as Float2
//   exp2(x), log2(x), tanh(x), fma(a, b, c)
//   larger(a, b)                                  NaN if either is
//
// The machine of Hopper kernels has these, too. Barriers (mbarrier) are 8 bytes of shared memory; addresses of matrices are
// those of the shared state space; c is float[columns / 8][4], the accumulator of one warp's 16 of 64 rows.
//
//   barrier_init(at, arrivals); barrier_fence()   before a sync, after which all may use them
//   barrier_arrive(at); barrier_expect(at, bytes) an arrival that also awaits so many bytes
//   barrier_wait(at, parity)                      until the turn of that parity is over; before the first: 1 is over
//   load_box(at, map, x, y, z, barrier)           TMA: the box of `map` at (x, y, z), counted by the barrier when it is there
//   load_bytes(at, p, bytes, barrier)             likewise, of global memory as it stands; multiples of 16
//   shared_address(at)                            for descriptors
//   begin_products(c), begin_products(c, a)       before a batch (wgmma.fence); a[steps][4]: what it takes from registers
//   multiply_shared<T, columns>(c, a, b, add)     c = a b^T (+ c), m64nNk16, descriptors of K-major matrices
//   multiply_registers<T, columns>(c, a, b)       c += a b, a in registers, b a descriptor of a transposed matrix
//   multiply_transposed<T, columns>(c, a, b, add) c = a b (+ c), descriptors of a K-major and of a transposed matrix
//   commit_products(); wait_products<n>(c)        all but the newest n batches are over, and c may be read
//   more_registers<n>(), fewer_registers<n>()     of the warpgroup
//
// What threads write to shared memory, products and reductions see after each writer's fence_async() and, then, a sync or an
// arrival that their own warp has met.
//
//   store_matrices_transposed(at, r)              stmatrix .x4.trans: the inverse of load_matrices_transposed
//   fence_async()                                 of the thread's own writes
//   sync_warp(); sync_part(id, threads)           the warp; the whole warps of a part of the block (named barrier `id` > 0)
//   reduce_add(p, at, bytes)                      p[] += floats at `at`, by TMA; multiples of 16; in no order among blocks
//   commit_reductions(); wait_reductions_read<n>()  all but the thread's newest n batches have read shared memory
#pragma once

#include <cstdint>
#include <limits>

#if defined(__CUDACC__)
#define ANNULUS_DEVICE __device__ __forceinline__
#define ANNULUS_UNROLL _Pragma("unroll")
#else
#define ANNULUS_DEVICE inline
#define ANNULUS_UNROLL
#endif

namespace annulus::kernels::cuda {

inline constexpr int lanes = 32;
inline constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

/// Neighbouring elements that travel together.
struct alignas(8) Float2 {
  float x;
  float y;
};
struct alignas(16) Float4 {
  float x;
  float y;
  float z;
  float w;
};

}  // namespace annulus::kernels::cuda
