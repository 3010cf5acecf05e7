/// What Hopper adds to the machine, as PTX for sm_90a: mbarrier, TMA, wgmma, setmaxnreg.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/args.hpp"
#include "kernels/cuda/ptx_machine.cuh"

namespace annulus::kernels::cuda {

class HopperMachine : public PtxMachine {
 public:
  ANNULUS_DEVICE std::uint32_t shared_address(std::uint32_t at) const { return PtxMachine::shared_address(at); }

  ANNULUS_DEVICE void barrier_init(std::uint32_t at, int arrivals) const {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(at)), "r"(arrivals) : "memory");
  }
  /// Inits are plain writes; TMA looks at barriers through the async proxy.
  ANNULUS_DEVICE void barrier_fence() const {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  }
  ANNULUS_DEVICE void barrier_arrive(std::uint32_t at) const {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(at)) : "memory");
  }
  ANNULUS_DEVICE void barrier_expect(std::uint32_t at, int bytes) const {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(at)), "r"(bytes)
                 : "memory");
  }
  ANNULUS_DEVICE void barrier_wait(std::uint32_t at, std::uint32_t parity) const {
    std::uint32_t over = 0;
    while (over == 0) {  // try_wait sleeps in between, for a time of its own choice
      asm volatile(
          "{.reg .pred over; mbarrier.try_wait.parity.shared::cta.b64 over, [%1], %2; selp.u32 %0, 1, 0, over;}"
          : "=r"(over)
          : "r"(shared_address(at)), "r"(parity)
          : "memory");
    }
  }
  ANNULUS_DEVICE void load_box(std::uint32_t at, const TensorMap& map, int x, int y, int z, std::uint32_t barrier) const {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];"
        ::"r"(shared_address(at)), "l"(&map), "r"(shared_address(barrier)), "r"(x), "r"(y), "r"(z)
        : "memory");
  }
  ANNULUS_DEVICE void load_bytes(std::uint32_t at, const void* p, int bytes, std::uint32_t barrier) const {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     shared_address(at)),
                 "l"(__cvta_generic_to_global(p)), "r"(bytes), "r"(shared_address(barrier))
                 : "memory");
  }

  ANNULUS_DEVICE void store_matrices_transposed(std::uint32_t at, const std::uint32_t (&r)[4]) const {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(at)),
                 "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
                 : "memory");
  }
  ANNULUS_DEVICE void fence_async() const { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
  ANNULUS_DEVICE void sync_warp() const { __syncwarp(); }
  ANNULUS_DEVICE void sync_part(int id, int threads) const {
    asm volatile("barrier.cta.sync.aligned %0, %1;" ::"r"(id), "r"(threads) : "memory");
  }
  ANNULUS_DEVICE void reduce_add(float* p, std::uint32_t at, int bytes) const {
    asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(
                     __cvta_generic_to_global(p)),
                 "r"(shared_address(at)), "r"(bytes)
                 : "memory");
  }
  ANNULUS_DEVICE void commit_reductions() const { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
  template <int pending>
  ANNULUS_DEVICE void wait_reductions_read() const {
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(pending) : "memory");
  }

  template <int tiles>
  ANNULUS_DEVICE void begin_products(float (&c)[tiles][4]) const {
    hold(c);
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  }
  /// `a` is what multiply_registers will be given: made before the fence, not after.
  template <int tiles, int steps>
  ANNULUS_DEVICE void begin_products(float (&c)[tiles][4], std::uint32_t (&a)[steps][4]) const {
    ANNULUS_UNROLL
    for (int i = 0; i < steps; ++i) {
      asm volatile("" : "+r"(a[i][0]), "+r"(a[i][1]), "+r"(a[i][2]), "+r"(a[i][3])::"memory");
    }
    begin_products(c);
  }
  ANNULUS_DEVICE void commit_products() const { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
  template <int pending, int tiles>
  ANNULUS_DEVICE void wait_products(float (&c)[tiles][4]) const {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
    hold(c);
  }

  template <class T, int columns>
  ANNULUS_DEVICE void multiply_shared(float (&c)[columns / 8][4], std::uint64_t a, std::uint64_t b, bool add) const;
  template <class T, int columns>
  ANNULUS_DEVICE void multiply_registers(float (&c)[columns / 8][4], const std::uint32_t (&a)[4], std::uint64_t b) const;
  template <class T, int columns>
  ANNULUS_DEVICE void multiply_transposed(float (&c)[columns / 8][4], std::uint64_t a, std::uint64_t b, bool add) const;

  template <int count>
  ANNULUS_DEVICE void more_registers() const {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count));
  }
  template <int count>
  ANNULUS_DEVICE void fewer_registers() const {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count));
  }

 private:
  /// What touches c stays on its side of this: the compiler does not know that wgmma writes later than it is issued.
  template <int tiles>
  static ANNULUS_DEVICE void hold(float (&c)[tiles][4]) {
    ANNULUS_UNROLL
    for (int j = 0; j < tiles; ++j) {
      asm volatile("" : "+f"(c[j][0]), "+f"(c[j][1]), "+f"(c[j][2]), "+f"(c[j][3])::"memory");
    }
  }
};

// Text of the operands. Accumulators come first, as %0 and on: 32 of them for 64 columns.
#define ANNULUS_NAMES_64 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define ANNULUS_NAMES_128 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define ANNULUS_NAMES_256 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define ANNULUS_TILE(j) "+f"(c[j][0]), "+f"(c[j][1]), "+f"(c[j][2]), "+f"(c[j][3])
#define ANNULUS_TILES_4(j) ANNULUS_TILE(j), ANNULUS_TILE(j + 1), ANNULUS_TILE(j + 2), ANNULUS_TILE(j + 3)
#define ANNULUS_TILES_64(j) ANNULUS_TILES_4(j), ANNULUS_TILES_4(j + 4)
#define ANNULUS_TILES_128(j) ANNULUS_TILES_64(j), ANNULUS_TILES_64(j + 8)
#define ANNULUS_TILES_256(j) ANNULUS_TILES_128(j), ANNULUS_TILES_128(j + 16)

// scale-d is the predicate; scales of a and b are 1. Behind them: whether a (if in shared memory) and b are transposed.
#define ANNULUS_WGMMA_SHARED(columns, element, a, b, add_, b_transposed)                                              \
  asm volatile("{.reg .pred adds; setp.ne.b32 adds, " add_ ", 0; "                                                    \
               "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." element "." element " {" ANNULUS_NAMES_##columns \
               "}, " a ", " b ", adds, 1, 1, 0, " b_transposed ";}"                                                   \
               : ANNULUS_TILES_##columns(0)                                                                           \
               : "l"(of_a), "l"(of_b), "r"(static_cast<int>(add))                                                     \
               : "memory")
#define ANNULUS_WGMMA_REGISTERS(columns, element, a0, a1, a2, a3, b)                                                  \
  asm volatile("{.reg .pred adds; setp.eq.b32 adds, 0, 0; "                                                           \
               "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." element "." element " {" ANNULUS_NAMES_##columns \
               "}, {" a0 ", " a1 ", " a2 ", " a3 "}, " b ", adds, 1, 1, 1;}"                                           \
               : ANNULUS_TILES_##columns(0)                                                                           \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(of_b)                                                \
               : "memory")

template <class T, int columns>
ANNULUS_DEVICE void HopperMachine::multiply_shared(float (&c)[columns / 8][4], std::uint64_t of_a, std::uint64_t of_b,
                                                   bool add) const {
  static_assert(columns == 64 || columns == 128);
  if constexpr (columns == 64 && is_bf16<T>) ANNULUS_WGMMA_SHARED(64, "bf16", "%32", "%33", "%34", "0");
  if constexpr (columns == 64 && !is_bf16<T>) ANNULUS_WGMMA_SHARED(64, "f16", "%32", "%33", "%34", "0");
  if constexpr (columns == 128 && is_bf16<T>) ANNULUS_WGMMA_SHARED(128, "bf16", "%64", "%65", "%66", "0");
  if constexpr (columns == 128 && !is_bf16<T>) ANNULUS_WGMMA_SHARED(128, "f16", "%64", "%65", "%66", "0");
}

template <class T, int columns>
ANNULUS_DEVICE void HopperMachine::multiply_transposed(float (&c)[columns / 8][4], std::uint64_t of_a, std::uint64_t of_b,
                                                       bool add) const {
  static_assert(columns == 64);
  if constexpr (is_bf16<T>) ANNULUS_WGMMA_SHARED(64, "bf16", "%32", "%33", "%34", "1");
  if constexpr (!is_bf16<T>) ANNULUS_WGMMA_SHARED(64, "f16", "%32", "%33", "%34", "1");
}

template <class T, int columns>
ANNULUS_DEVICE void HopperMachine::multiply_registers(float (&c)[columns / 8][4], const std::uint32_t (&a)[4],
                                                      std::uint64_t of_b) const {
  static_assert(columns == 64 || columns == 128 || columns == 256);
  if constexpr (columns == 64 && is_bf16<T>) ANNULUS_WGMMA_REGISTERS(64, "bf16", "%32", "%33", "%34", "%35", "%36");
  if constexpr (columns == 64 && !is_bf16<T>) ANNULUS_WGMMA_REGISTERS(64, "f16", "%32", "%33", "%34", "%35", "%36");
  if constexpr (columns == 128 && is_bf16<T>) ANNULUS_WGMMA_REGISTERS(128, "bf16", "%64", "%65", "%66", "%67", "%68");
  if constexpr (columns == 128 && !is_bf16<T>) ANNULUS_WGMMA_REGISTERS(128, "f16", "%64", "%65", "%66", "%67", "%68");
  if constexpr (columns == 256 && is_bf16<T>) ANNULUS_WGMMA_REGISTERS(256, "bf16", "%128", "%129", "%130", "%131", "%132");
  if constexpr (columns == 256 && !is_bf16<T>) ANNULUS_WGMMA_REGISTERS(256, "f16", "%128", "%129", "%130", "%131", "%132");
}

}  // namespace annulus::kernels::cuda
