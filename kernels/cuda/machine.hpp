/// The vocabulary that kernel bodies are written in. Two machines speak it: PtxMachine (ptx_machine.cuh, nvcc) and the
/// emulator of the tests (tests/support/emulated_machine.hpp, any C++ compiler).
// SPDX-License-Identifier: Apache-2.0
//
// A body is a template over its Machine and runs once per CUDA thread. What a machine offers:
//
//   int thread(), lane(), warp()                  place in the block; std::int64_t block(): place in the grid
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

ANNULUS_DEVICE float larger(float a, float b) { return a > b ? a : b; }

}  // namespace annulus::kernels::cuda
