/// What works beside the threads of a Hopper processor, emulated: barriers in shared memory, TMA, and wgmma. All of it is as
/// late as the PTX ISA allows: a box lands when nobody can go on without it, products are computed when they are waited for,
/// reductions read then and add when all is over.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/cuda/args.hpp"
#include "tests/support/proxy_order.hpp"
#include "tests/support/reductions.hpp"

namespace annulus::test {

class EmulatedMemory;

/// The emulator's tensor map: boxes of 64 columns of 16 bits and box_rows rows of one plane, swizzled over 128 bytes.
struct EmulatedTensorMap {
  const std::uint16_t* data;
  std::int64_t columns;
  std::int64_t rows;
  std::int64_t planes;
  std::int32_t box_rows;

  kernels::cuda::TensorMap opaque() const;
};

/// One m64nNk16, as a warp issues it: its 16 rows of the accumulator.
struct WarpProduct {
  std::array<float*, 32> c;                        ///< of each lane, [columns / 8][4]
  std::array<std::array<std::uint32_t, 4>, 32> a;  ///< of each lane, if it comes from registers
  std::uint64_t a_descriptor;
  std::uint64_t b_descriptor;
  int columns;
  bool from_registers;
  bool transposed;  ///< b is
  bool add;
  float (*value)(std::uint16_t bits);  ///< of an element

  /// What is the same for all lanes.
  bool same_operands(const WarpProduct& other) const;
};

/// One block's. Throws EmulationError for what hardware would not forgive.
class AsyncUnits {
 public:
  static constexpr std::uint32_t shared_begin = 1024;  ///< where dynamic shared memory lies in its state space

  explicit AsyncUnits(const EmulatedMemory& memory) : memory_(memory), reductions_(memory) {}
  void restart(int warps, std::span<std::byte> shared);
  /// Throws if a warp leaves work behind, or the warps of a warpgroup multiplied different matrices.
  void end() const;

  void barrier_init(std::uint32_t at, int arrivals);
  void barrier_fence();
  /// All threads have met: barriers that were fenced may be used.
  void synced();
  void arrive(int thread, std::uint32_t at, int expected_bytes);
  bool is_over(std::uint32_t at, std::uint32_t parity) const;
  /// A warp has waited at a barrier: what that counted until now, the warp may read.
  void observe(int warp, std::uint32_t at);

  void load_box(int thread, std::uint32_t at, const kernels::cuda::TensorMap& map, int x, int y, int z, std::uint32_t barrier);
  void load_bytes(int thread, std::uint32_t at, const void* from, int bytes, std::uint32_t barrier);
  /// Lets one box land, the oldest or the newest. False if there is none.
  bool land(bool newest);

  void begin_products(int warp);
  void multiply(int warp, const WarpProduct& product);
  void commit_products(int warp);
  void wait_products(int warp, int pending);

  ProxyOrder& order() { return order_; }
  Reductions& reductions() { return reductions_; }

 private:
  enum class Made { no, fenced, yes };
  struct Barrier {
    int arrivals;
    int missing;        ///< arrivals of the turn
    std::int64_t bytes; ///< still to come
    std::uint32_t turn;
    Made made;
    ProxyOrder::Clock told{};  ///< by arrivals so far
    ProxyOrder::Clock known{};  ///< to who waits for turns that are over
  };
  /// What a copy brings.
  struct Box {
    std::uint32_t at;
    std::uint32_t barrier;
    std::vector<std::byte> bytes;
  };
  /// What a copy has brought, and the turn of the barrier that counted it.
  struct Landed {
    std::uint32_t begin;
    std::uint32_t end;
    std::uint32_t barrier;
    std::uint32_t turn;
  };
  struct Warp {
    std::map<std::uint32_t, std::uint32_t> observed;  ///< turns of barriers that are over for this warp
    std::deque<std::vector<WarpProduct>> batches;  ///< committed, not waited for
    std::vector<WarpProduct> open;
    bool begun = false;
    std::uint64_t history = 0;  ///< of all products' operands: warps of a group have the same
  };
  using Range = SharedRange;  ///< of the shared state space

  Barrier& barrier(std::uint32_t at);
  const Barrier& barrier(std::uint32_t at) const;
  static void end_turn(Barrier& barrier);
  static std::vector<Range> ranges(const WarpProduct& product);
  void compute(int warp, const WarpProduct& product) const;
  float element(std::uint32_t address, const WarpProduct& product) const;
  void start(int thread, Box box);
  void check_free(const Range& range) const;
  void check_landed(const Warp& warp, const WarpProduct& product) const;
  void check_observed(const Warp& warp, const Range& range) const;

  const EmulatedMemory& memory_;
  ProxyOrder order_;
  Reductions reductions_;
  std::span<std::byte> shared_;
  std::map<std::uint32_t, Barrier> barriers_;
  std::deque<Box> boxes_;
  std::vector<Landed> landed_;
  std::vector<Warp> warps_;
};

}  // namespace annulus::test
