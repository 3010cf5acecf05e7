/// The machine of machine.hpp as PTX for sm_80 and later.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <type_traits>

#include "kernels/base/dtype.hpp"
#include "kernels/cuda/machine.hpp"

namespace annulus::kernels::cuda {

extern __shared__ __align__(1024) unsigned char dynamic_shared[];

class PtxMachine {
 public:
  /// Read anew wherever it is wanted (hence volatile): what the compiler derives from it once and keeps, it spills.
  ANNULUS_DEVICE int thread() const {
    int x;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(x));
    return x;
  }
  ANNULUS_DEVICE int lane() const { return thread() & 31; }
  ANNULUS_DEVICE int warp() const { return thread() >> 5; }
  ANNULUS_DEVICE std::int64_t block() const { return blockIdx.x; }
  ANNULUS_DEVICE std::int64_t blocks() const { return gridDim.x; }

  template <class T>
  ANNULUS_DEVICE T load(const T* p) const {
    return *p;
  }
  template <class T>
  ANNULUS_DEVICE void store(T* p, T x) const {
    *p = x;
  }
  template <class T>
  ANNULUS_DEVICE T load_shared(std::uint32_t at) const {
    return *reinterpret_cast<const T*>(dynamic_shared + at);
  }
  template <class T>
  ANNULUS_DEVICE void store_shared(std::uint32_t at, T x) const {
    *reinterpret_cast<T*>(dynamic_shared + at) = x;
  }
  ANNULUS_DEVICE void sync() const { __syncthreads(); }
  ANNULUS_DEVICE float shuffle_xor(float x, int mask) const { return __shfl_xor_sync(~0U, x, mask); }
  ANNULUS_DEVICE bool all(bool x) const { return __all_sync(~0U, x) != 0; }
  ANNULUS_DEVICE float shuffle(float x, int source) const { return __shfl_sync(~0U, x, source); }

  // The "memory" clobbers keep these in order with the copies and barriers around them.
  ANNULUS_DEVICE void load_matrices(std::uint32_t at, std::uint32_t (&r)[4]) const {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(at))
                 : "memory");
  }
  ANNULUS_DEVICE void load_matrices_transposed(std::uint32_t at, std::uint32_t (&r)[4]) const {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(at))
                 : "memory");
  }

  template <class T>
  ANNULUS_DEVICE void multiply(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) const {
    if constexpr (is_bf16<T>) {
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
          "{%0, %1, %2, %3};"
          : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    } else {
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
          "{%0, %1, %2, %3};"
          : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
  }

  ANNULUS_DEVICE void copy_async(std::uint32_t at, const void* p, bool valid) const {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(shared_address(at)), "l"(__cvta_generic_to_global(p)), "r"(valid ? 16 : 0)
                 : "memory");
  }
  ANNULUS_DEVICE void commit() const { asm volatile("cp.async.commit_group;" ::: "memory"); }
  ANNULUS_DEVICE void wait_all() const { asm volatile("cp.async.wait_all;" ::: "memory"); }

  template <class T>
  ANNULUS_DEVICE std::uint32_t pair(float low, float high) const {
    std::uint32_t word;
    if constexpr (is_bf16<T>) {
      asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    } else {
      asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    }
    return word;
  }

  template <class T>
  ANNULUS_DEVICE Float2 floats(std::uint32_t word) const {
    if constexpr (is_bf16<T>) return {__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000U)};
    Float2 both;
    asm("{.reg .b16 low, high; mov.b32 {low, high}, %2; cvt.f32.f16 %0, low; cvt.f32.f16 %1, high;}"
        : "=f"(both.x), "=f"(both.y)
        : "r"(word));
    return both;
  }

  ANNULUS_DEVICE float exp2(float x) const {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));  // 2 ulp; 2^-inf is 0
    return y;
  }
  ANNULUS_DEVICE float log2(float x) const { return ::log2f(x); }
  ANNULUS_DEVICE float tanh(float x) const { return ::tanhf(x); }
  ANNULUS_DEVICE float fma(float a, float b, float c) const { return __fmaf_rn(a, b, c); }
  /// One instruction, where a comparison and a choice are two.
  ANNULUS_DEVICE float larger(float a, float b) const {
    float c;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(c) : "f"(a), "f"(b));
    return c;
  }

 protected:
  template <class T>
  static constexpr bool is_bf16 = std::is_same_v<T, bf16>;

  static ANNULUS_DEVICE std::uint32_t shared_address(std::uint32_t at) {
    return static_cast<std::uint32_t>(__cvta_generic_to_shared(dynamic_shared)) + at;
  }
};

}  // namespace annulus::kernels::cuda
