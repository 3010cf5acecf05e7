/// What threads write for units to read, in the emulator: stmatrix, fences, named barriers, bulk reductions, and every fault that
/// it promises to find.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/reductions.hpp"

#include <gtest/gtest.h>

#include <array>

#include "kernels/cuda/matrix_descriptor.hpp"
#include "tests/kernels/cuda/emulated_run.hpp"

namespace annulus::test {
namespace {

using kernels::cuda::matrix_descriptor;
using kernels::cuda::moved;

constexpr int floats = 128;
constexpr int bytes = floats * 4;
constexpr std::uint32_t told = 2048;  ///< a barrier
constexpr std::int64_t shared_bytes = 4096;

/// Sums in device memory, and blocks that add to them: each thread of the first four warps has one term.
struct Sums {
  EmulatedMemory memory;
  EmulatedBlock block{memory};
  float* sums = static_cast<float*>(memory.allocate(bytes));

  Sums() { std::fill_n(sums, floats, 0.0F); }
  void run(const Body& body, int threads = 160) {
    block.run(threads, shared_bytes, false, [&](int thread) {
      EmulatedMachine machine(block, thread, 0);
      body(machine);
    });
  }
  std::string fault(const Body& body) {
    try {
      run(body);
    } catch (const EmulationError& error) {
      return error.what();
    }
    return "no fault";
  }
};

void make_barrier(EmulatedMachine& machine) {
  if (machine.thread() == 0) {
    machine.barrier_init(told, 4);
    machine.barrier_fence();
  }
  machine.sync();
}

bool writes(const EmulatedMachine& machine) { return machine.thread() < floats; }
std::uint32_t own_place(const EmulatedMachine& machine) { return static_cast<std::uint32_t>(machine.thread()) * 4; }

/// What a writer may leave out.
struct Handing {
  bool fence = true;
  bool meets = true;  ///< the warp, before a lane of it arrives
  bool waits = true;  ///< who reads
  bool ends = true;   ///< waits for the read
};

/// Four warps write a term each, a thread of the fifth adds them up.
void hand_over(EmulatedMachine& machine, float* sums, float term, const Handing& how = {}) {
  make_barrier(machine);
  if (writes(machine)) {
    machine.store_shared(own_place(machine), term);
    if (how.fence) machine.fence_async();
    if (how.meets) machine.sync_warp();
    if (machine.lane() == 0) machine.barrier_arrive(told);
  } else if (machine.lane() == 0) {
    if (how.waits) machine.barrier_wait(told, 0);
    machine.reduce_add(sums, 0, bytes);
    machine.commit_reductions();
    if (how.ends) machine.wait_reductions_read<0>();
  }
}

TEST(Reductions, AddWhenAllIsOver) {
  Sums with;
  for (const float term : {1.0F, 2.0F}) {
    with.run([&](EmulatedMachine& machine) { hand_over(machine, with.sums, term + static_cast<float>(machine.thread())); });
  }
  EXPECT_EQ(with.sums[5], 0);
  with.block.settle();
  for (int i = 0; i < floats; ++i) ASSERT_EQ(with.sums[i], static_cast<float>(2 * i + 3));
  with.block.settle();
  EXPECT_EQ(with.sums[0], 3) << "added twice";
}

TEST(Reductions, AddInTheOrderOfBlocks) {
  for (const bool large_first : {true, false}) {
    Sums with;
    for (const float term : large_first ? std::array{1e8F, -1e8F, 1.0F} : std::array{1.0F, -1e8F, 1e8F}) {
      with.run([&](EmulatedMachine& machine) { hand_over(machine, with.sums, term); });
    }
    with.block.settle();
    EXPECT_EQ(with.sums[7], large_first ? 1 : 0);
  }
}

TEST(Reductions, FindsWhatWasNotHandedOver) {
  const auto fault = [](const Handing& how) {
    Sums with;
    return with.fault([&](EmulatedMachine& machine) { hand_over(machine, with.sums, 1, how); });
  };
  expect_fault("no fault", fault({}));
  expect_fault("without fence_async", fault({.fence = false}));
  expect_fault("without a barrier between", fault({.meets = false}));
  expect_fault("without a barrier between", fault({.waits = false}));
  expect_fault("before its reductions have read", fault({.ends = false}));
}

TEST(Reductions, SeeWhatTheArrivingThreadItselfWrote) {
  Sums with;
  with.run([&](EmulatedMachine& machine) {
    make_barrier(machine);
    if (machine.lane() != 0) return;
    if (machine.warp() < 4) {
      machine.store_shared(static_cast<std::uint32_t>(machine.warp()) * 4, 2.0F);
      machine.fence_async();
      machine.barrier_arrive(told);
    } else {
      machine.barrier_wait(told, 0);
      machine.reduce_add(with.sums, 0, 16);
      machine.commit_reductions();
      machine.wait_reductions_read<0>();
    }
  });
  with.block.settle();
  EXPECT_EQ(with.sums[3], 2);
}

/// A thread adds what it wrote; then, once or never told that it was read, another warp writes there again.
TEST(Reductions, FindsWhatIsOverwrittenTooEarly) {
  const auto fault = [](bool read, bool tells) {
    Sums with;
    return with.fault([&](EmulatedMachine& machine) {
      if (machine.thread() == 0) {
        machine.store_shared(0, kernels::cuda::Float4{1, 2, 3, 4});
        machine.fence_async();
      }
      if (machine.warp() == 0) machine.sync_warp();
      if (machine.thread() == 0) {
        machine.reduce_add(with.sums, 0, 16);
        machine.commit_reductions();
        if (read) machine.wait_reductions_read<0>();
      }
      if (tells && machine.warp() < 2) machine.sync_part(1, 64);
      if (machine.thread() == 32) machine.store_shared(16, 5.0F);
      if (machine.thread() == 33) machine.store_shared(8, 5.0F);
      if (machine.thread() == 0 && !read) machine.wait_reductions_read<0>();
    });
  };
  expect_fault("still read", fault(false, true));
  expect_fault("no barrier between", fault(true, false));
}

TEST(Reductions, WaitsLeaveTheNewestBatchesUnread) {
  Sums with;
  expect_fault("before its reductions", with.fault([&](EmulatedMachine& machine) {
    if (machine.thread() != 0) return;
    machine.reduce_add(with.sums, 0, 16);
    machine.commit_reductions();
    machine.reduce_add(with.sums, 16, 16);
    machine.commit_reductions();
    machine.wait_reductions_read<1>();
  }));
  expect_fault("before its reductions", with.fault([&](EmulatedMachine& machine) {
    if (machine.thread() != 0) return;
    machine.reduce_add(with.sums, 0, 16);  // in no batch
    machine.wait_reductions_read<0>();
  }));
}

TEST(Reductions, FindsBadPlaces) {
  Sums with;
  const auto fault = [&](int offset, std::uint32_t at, int size) {
    return with.fault([&](EmulatedMachine& machine) {
      if (machine.thread() == 0) machine.reduce_add(with.sums + offset, at, size);
    });
  };
  expect_fault("a reduction of 8 bytes", fault(0, 0, 8));
  expect_fault("at 8", fault(0, 8, 16));
  expect_fault("a reduction of 32 bytes", fault(0, shared_bytes - 16, 32));
  expect_fault("misaligned access to global", fault(1, 0, 16));
  expect_fault("outside of all global", fault(floats - 4, 0, 32));
}

TEST(NamedBarriers, LetAPartOfTheBlockMeet) {
  Sums with;
  int before = 0;
  with.run([&](EmulatedMachine& machine) {
    if (machine.warp() >= 2) return;
    ++before;
    machine.sync_part(3, 64);
    EXPECT_EQ(before, 64);
  });
}

TEST(NamedBarriers, AreFoundMisused) {
  Sums with;
  expect_fault("deadlock", with.fault([](EmulatedMachine& machine) {
    if (machine.warp() == 0) machine.sync_part(1, 64);
  }));
  expect_fault("another number of threads", with.fault([](EmulatedMachine& machine) {
    machine.sync_part(1, machine.warp() == 0 ? 64 : 96);
  }));
  expect_fault("no named barrier", with.fault([](EmulatedMachine& machine) { machine.sync_part(0, 160); }));
  expect_fault("a part of a warp", with.fault([](EmulatedMachine& machine) {
    if (machine.lane() < 16) machine.sync_part(1, 32);
  }));
}

/// Small integers: exact in bf16, and every sum of their products in f32.
float number(int i, int j) { return static_cast<float>((i * 7 + j * 3) % 11 - 5); }

/// C = A B, where a warpgroup has A^T [16][64] as accumulators and stores it as rows of A, 128 bytes each, swizzled; B is
/// [16][64], transposed for wgmma, written by its first warp.
void multiply_own(EmulatedMachine& machine, bool fence, bool meet) {
  constexpr std::uint32_t b_begin = 8192;
  const int lane = machine.lane();
  const auto place = [](int row, int chunk) { return static_cast<std::uint32_t>(row * 128 + ((chunk ^ (row & 7)) << 4)); };
  for (int step = machine.warp(); step < 4; step += 4) {  // 16 rows of A by each warp
    std::uint32_t r[4];
    for (int i = 0; i < 4; ++i) {
      const int k = lane / 4 + i % 2 * 8;
      const int row = 16 * step + lane % 4 * 2 + i / 2 * 8;
      r[i] = machine.pair<bf16>(number(row, k), number(row + 1, k));
    }
    machine.store_matrices_transposed(place(16 * step + lane / 16 * 8 + lane % 8, lane / 8 % 2), r);
  }
  for (int k = machine.warp() * 4; k < machine.warp() * 4 + 4; ++k) {
    const std::uint32_t at = b_begin + place(k, lane / 4) + static_cast<std::uint32_t>(lane % 4 * 4);
    machine.store_shared(at, machine.pair<bf16>(number(k, 2 * lane + 1), number(k, 2 * lane + 2)));
  }
  if (fence) machine.fence_async();
  if (meet) machine.sync_part(1, 128);
  float c[8][4];
  machine.begin_products(c);
  machine.multiply_transposed<bf16, 64>(c, matrix_descriptor(machine.shared_address(0), 0),
                                        matrix_descriptor(machine.shared_address(b_begin), 0), false);
  machine.commit_products();
  machine.wait_products<0>(c);
  for (int at = 0; at < 32; ++at) {
    const int row = machine.warp() * 16 + lane / 4 + at % 4 / 2 * 8;
    const int column = at / 4 * 8 + lane % 4 * 2 + at % 2;
    float want = 0;
    for (int k = 0; k < 16; ++k) want += number(row, k) * number(k, column + 1);
    ASSERT_EQ(c[at / 4][at % 4], want) << row << " " << column;
  }
}

TEST(OwnMatrices, AreMultipliedAsTheyWereStored) {
  run(128, 16384, [](EmulatedMachine& machine) { multiply_own(machine, true, true); });
  run(128, 16384, [](EmulatedMachine& machine) { multiply_own(machine, true, true); }, true);
}

TEST(OwnMatrices, NeedAFenceAndABarrier) {
  const auto with = [](bool fence, bool meet) {
    return fault(128, 16384, [=](EmulatedMachine& machine) { multiply_own(machine, fence, meet); });
  };
  expect_fault("without fence_async", with(false, true));
  expect_fault("without a barrier between", with(true, false));
}

}  // namespace
}  // namespace annulus::test
