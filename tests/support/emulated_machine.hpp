/// The machine of kernels/cuda/machine.hpp on the host: one fiber per CUDA thread, warp operations with the fragment
/// layouts of the PTX ISA, and an error for everything that hardware would not forgive.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/base/dtype.hpp"
#include "kernels/cuda/machine.hpp"
#include "tests/support/async_units.hpp"
#include "tests/support/fiber.hpp"

namespace annulus::test {

/// A kernel did what no kernel may do.
struct EmulationError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Global memory: what has been allocated. New memory is full of NaN.
class EmulatedMemory {
 public:
  void* allocate(std::int64_t bytes);
  void release(void* memory);
  /// Throws unless [p, p + bytes) lies in one allocation and p is a multiple of `alignment`.
  void check(const void* p, std::size_t bytes, std::size_t alignment) const;

 private:
  std::map<const std::byte*, std::vector<std::byte>> blocks_;  ///< by address; a map keeps them in place
  mutable const std::byte* last_begin_ = nullptr;              ///< of the block that held the last access
  mutable const std::byte* last_end_ = nullptr;
};

/// One block of threads at a time. Threads run in ascending order, or descending: results must not depend on it.
class EmulatedBlock {
 public:
  static constexpr int most_threads = 384;

  explicit EmulatedBlock(const EmulatedMemory& memory);

  /// Runs body(thread) for all threads to the end. Rethrows what a thread throws.
  void run(int threads, std::int64_t shared_bytes, bool descending, const std::function<void(int)>& body);

  // For the machine, from inside a thread:

  void sync(int thread);
  /// All lanes of a warp pass the same `name`, each its slot; the last to arrive executes for all.
  using Execute = void (*)(EmulatedBlock& block, const std::array<void*, 32>& slots);
  void collective(int thread, const char* name, void* slot, Execute execute);

  const EmulatedMemory& memory() const { return memory_; }
  /// Shared memory for an access of `thread`. Throws out of range, misaligned, or if another thread wrote (for writes:
  /// or read) the place since the last sync.
  std::byte* read(int thread, std::uint32_t at, std::size_t bytes, std::size_t alignment);
  std::byte* write(int thread, std::uint32_t at, std::size_t bytes, std::size_t alignment);
  /// What has been copied is there after wait() only; before, the place is full of NaN.
  void copy_async(int thread, std::uint32_t at, const void* from, bool valid);
  void wait(int thread);
  void barrier_wait(int thread, std::uint32_t at, std::uint32_t parity);
  void sync_part(int thread, int id, int threads);
  AsyncUnits& async() { return async_; }
  /// What blocks have added up in global memory is there, in the order in which they ran.
  void settle() { async_.reductions().settle(); }

 private:
  enum class State { runnable, in_collective, in_sync, in_part, at_barrier, ended };
  /// Who has come to a named barrier.
  struct Part {
    int threads = 0;
    std::vector<int> here;
  };
  struct Turn {
    std::uint32_t barrier;
    std::uint32_t parity;
  };
  struct Warp {
    const char* name = nullptr;
    std::array<void*, 32> slots{};
    int arrived = 0;
  };
  /// Who touched a word of shared memory, and in which interval between syncs.
  struct Access {
    std::int32_t written = -1;
    std::int32_t read = -1;
    std::int16_t writer = -1;
    std::int16_t reader = -1;  ///< several: many
  };
  static constexpr std::int16_t many = -2;
  struct Copy {
    std::uint32_t at;
    std::array<std::byte, 16> bytes;
  };

  void run_warp(int warp, bool descending);
  void release(bool descending);
  bool release_barriers();
  std::byte* place(std::uint32_t at, std::size_t bytes, std::size_t alignment);
  [[noreturn]] static void refuse(std::uint32_t at, std::size_t alignment);
  [[noreturn]] void fail(int thread, const std::string& what) const;
  std::string where() const;

  const EmulatedMemory& memory_;
  Fibers fibers_{most_threads};
  int threads_ = 0;
  std::vector<State> states_;
  std::vector<Warp> warps_;
  std::vector<std::byte> shared_;
  std::vector<Access> accesses_;
  std::vector<std::vector<Copy>> copies_;
  std::vector<Turn> turns_;  ///< that threads at barriers wait for
  std::map<int, Part> parts_;
  AsyncUnits async_{memory_};
  std::int32_t interval_ = 0;
  std::exception_ptr error_;
};

/// What one thread of a body sees.
class EmulatedMachine {
 public:
  EmulatedMachine(EmulatedBlock& owner, int thread, std::int64_t block, std::int64_t blocks = 1)
      : owner_(owner), thread_(thread), block_(block), blocks_(blocks) {}

  int thread() const { return thread_; }
  int lane() const { return thread_ % 32; }
  int warp() const { return thread_ / 32; }
  std::int64_t block() const { return block_; }
  std::int64_t blocks() const { return blocks_; }

  template <class T>
  T load(const T* p) const {
    owner_.memory().check(p, sizeof(T), sizeof(T));
    return *p;
  }
  template <class T>
  void store(T* p, T x) const {
    owner_.memory().check(p, sizeof(T), sizeof(T));
    *p = x;
  }
  template <class T>
  T load_shared(std::uint32_t at) const {
    T x;
    std::memcpy(&x, owner_.read(thread_, at, sizeof(T), sizeof(T)), sizeof(T));
    return x;
  }
  template <class T>
  void store_shared(std::uint32_t at, T x) const {
    std::memcpy(owner_.write(thread_, at, sizeof(T), sizeof(T)), &x, sizeof(T));
    owner_.async().order().write(thread_, {at, at + static_cast<std::uint32_t>(sizeof(T))});
  }
  void sync() const { owner_.sync(thread_); }
  float shuffle_xor(float x, int mask) const { return exchange("shuffle_xor", x, lane() ^ mask); }
  float shuffle(float x, int source) const { return exchange("shuffle", x, source & 31); }
  bool all(bool x) const;

  void load_matrices(std::uint32_t at, std::uint32_t (&r)[4]) const { matrices("ldmatrix", at, r, false); }
  void load_matrices_transposed(std::uint32_t at, std::uint32_t (&r)[4]) const {
    matrices("ldmatrix.trans", at, r, true);
  }
  void store_matrices_transposed(std::uint32_t at, const std::uint32_t (&r)[4]) const;
  template <class T>
  void multiply(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) const;

  void copy_async(std::uint32_t at, const void* p, bool valid) const { owner_.copy_async(thread_, at, p, valid); }
  void commit() const {}
  void wait_all() const { owner_.wait(thread_); }

  void barrier_init(std::uint32_t at, int arrivals) const { owner_.async().barrier_init(at, arrivals); }
  void barrier_fence() const { owner_.async().barrier_fence(); }
  void barrier_arrive(std::uint32_t at) const { owner_.async().arrive(thread_, at, 0); }
  void barrier_expect(std::uint32_t at, int bytes) const { owner_.async().arrive(thread_, at, bytes); }
  void barrier_wait(std::uint32_t at, std::uint32_t parity) const { owner_.barrier_wait(thread_, at, parity); }
  void load_box(std::uint32_t at, const kernels::cuda::TensorMap& map, int x, int y, int z, std::uint32_t barrier) const {
    owner_.async().load_box(thread_, at, map, x, y, z, barrier);
  }
  void load_bytes(std::uint32_t at, const void* from, int bytes, std::uint32_t barrier) const {
    owner_.async().load_bytes(thread_, at, from, bytes, barrier);
  }
  void fence_async() const { owner_.async().order().fence(thread_); }
  void sync_warp() const {
    warp_operation("syncwarp", [](AsyncUnits& async, int warp) { async.order().meet({&warp, 1}); });
  }
  void sync_part(int id, int threads) const { owner_.sync_part(thread_, id, threads); }
  void reduce_add(float* p, std::uint32_t at, int bytes) const {
    owner_.async().reductions().add(thread_, p, at, bytes, owner_.async().order());
  }
  void commit_reductions() const { owner_.async().reductions().commit(thread_); }
  template <int pending>
  void wait_reductions_read() const {
    owner_.async().reductions().wait_read(thread_, pending, owner_.async().order());
  }
  std::uint32_t shared_address(std::uint32_t at) const { return AsyncUnits::shared_begin + at; }
  template <int tiles>
  void begin_products(float (&)[tiles][4]) const {
    warp_operation("wgmma.fence", [](AsyncUnits& async, int warp) { async.begin_products(warp); });
  }
  template <int tiles, int steps>
  void begin_products(float (&c)[tiles][4], std::uint32_t (&)[steps][4]) const {
    begin_products(c);
  }
  template <class T, int columns>
  void multiply_shared(float (&c)[columns / 8][4], std::uint64_t a, std::uint64_t b, bool add) const {
    multiply_group({{}, {}, a, b, columns, false, false, add, value<T>}, &c[0][0], nullptr);
  }
  template <class T, int columns>
  void multiply_transposed(float (&c)[columns / 8][4], std::uint64_t a, std::uint64_t b, bool add) const {
    multiply_group({{}, {}, a, b, columns, false, true, add, value<T>}, &c[0][0], nullptr);
  }
  template <class T, int columns>
  void multiply_registers(float (&c)[columns / 8][4], const std::uint32_t (&a)[4], std::uint64_t b) const {
    multiply_group({{}, {}, 0, b, columns, true, true, true, value<T>}, &c[0][0], a);
  }
  void commit_products() const {
    warp_operation("wgmma.commit_group", [](AsyncUnits& async, int warp) { async.commit_products(warp); });
  }
  template <int pending, int tiles>
  void wait_products(float (&)[tiles][4]) const {
    warp_operation("wgmma.wait_group", [](AsyncUnits& async, int warp) { async.wait_products(warp, pending); });
  }
  template <int count>
  void more_registers() const {
    warp_operation("setmaxnreg.inc", [](AsyncUnits&, int) {});
  }
  template <int count>
  void fewer_registers() const {
    warp_operation("setmaxnreg.dec", [](AsyncUnits&, int) {});
  }

  template <class T>
  std::uint32_t pair(float low, float high) const {
    return static_cast<std::uint32_t>(from_float<T>(low).bits) | static_cast<std::uint32_t>(from_float<T>(high).bits)
                                                                     << 16;
  }
  template <class T>
  kernels::cuda::Float2 floats(std::uint32_t word) const {
    return {to_float(T{static_cast<std::uint16_t>(word)}), to_float(T{static_cast<std::uint16_t>(word >> 16)})};
  }
  float exp2(float x) const { return std::exp2(x); }
  float log2(float x) const { return std::log2(x); }
  float tanh(float x) const { return std::tanh(x); }
  /// Rounded to double between (rarely another bit): std::fma is a call, where it is not an instruction.
  float fma(float a, float b, float c) const { return static_cast<float>(static_cast<double>(a) * b + c); }
  float larger(float a, float b) const { return a > b || std::isnan(a) ? a : b; }

 private:
  float exchange(const char* name, float x, int source) const;
  void matrices(const char* name, std::uint32_t at, std::uint32_t (&r)[4], bool transposed) const;
  using WarpWork = void (*)(AsyncUnits& async, int warp);
  /// Once for the warp.
  void warp_operation(const char* name, WarpWork work) const;
  void multiply_group(const WarpProduct& operands, float* c, const std::uint32_t* a) const;
  template <class T>
  static float value(std::uint16_t bits) {
    return to_float(T{bits});
  }

  EmulatedBlock& owner_;
  int thread_;
  std::int64_t block_;
  std::int64_t blocks_;
};

}  // namespace annulus::test
