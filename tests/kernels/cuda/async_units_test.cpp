/// Hopper's units in the emulator: layouts against plain products, and every fault that it promises to find.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/async_units.hpp"

#include <gtest/gtest.h>

#include "kernels/cuda/matrix_descriptor.hpp"
#include "tests/kernels/cuda/emulated_run.hpp"

namespace annulus::test {
namespace {

using kernels::cuda::matrix_descriptor;
using kernels::cuda::moved;
using kernels::cuda::TensorMap;

constexpr std::uint32_t b_begin = 16384;
constexpr std::uint32_t full = 49152;  ///< a barrier
constexpr std::uint32_t empty = full + 8;
constexpr std::int64_t shared_bytes = full + 16;

/// Small integers: exact in bf16, and every sum of their products in f32.
float number(int i, int j) { return static_cast<float>((i * 7 + j * 3) % 11 - 5); }

/// A matrix [rows][columns] of numbers in device memory.
struct GlobalMatrix {
  GlobalMatrix(EmulatedMemory& memory, int rows_, int columns_) : rows(rows_), columns(columns_) {
    data = static_cast<bf16*>(memory.allocate(std::int64_t{rows} * columns * 2));
    for (int i = 0; i < rows * columns; ++i) data[i] = from_float<bf16>(number(i / columns, i % columns));
  }
  TensorMap map(int box_rows) const {
    return EmulatedTensorMap{reinterpret_cast<const std::uint16_t*>(data), columns, rows, 1, box_rows}.opaque();
  }
  int rows;
  int columns;
  bf16* data;
};

/// A warpgroup and its matrices: A [64][64] at 0, B [128][64] or, transposed, [16][128] in two slabs behind it.
struct Group {
  EmulatedMemory memory;
  EmulatedBlock block{memory};
  GlobalMatrix a{memory, 64, 64};
  GlobalMatrix b{memory, 128, 64};
  GlobalMatrix v{memory, 16, 128};

  void run(const std::function<void(EmulatedMachine&)>& body, int threads = 128, bool descending = false) {
    block.run(threads, shared_bytes, descending, [&](int thread) {
      EmulatedMachine machine(block, thread, 0);
      body(machine);
    });
  }
  std::string fault(const std::function<void(EmulatedMachine&)>& body, int threads = 128) {
    try {
      run(body, threads);
    } catch (const EmulationError& error) {
      return error.what();
    }
    return "no fault";
  }
};

void make_barriers(EmulatedMachine& machine) {
  if (machine.thread() == 0) {
    machine.barrier_init(full, 1);
    machine.barrier_init(empty, 4);
    machine.barrier_fence();
  }
  machine.sync();
}

/// A and B by TMA.
void fetch(EmulatedMachine& machine, const Group& group) {
  if (machine.thread() != 0) return;
  machine.barrier_expect(full, (64 + 128) * 128);
  machine.load_box(0, group.a.map(64), 0, 0, 0, full);
  machine.load_box(b_begin, group.b.map(128), 0, 0, 0, full);
}

std::uint64_t descriptor(EmulatedMachine& machine, std::uint32_t at, int leading = 0) {
  return matrix_descriptor(machine.shared_address(at), leading);
}

/// Row and column of element e of tile j in the accumulator of a thread.
int row_of(const EmulatedMachine& machine, int e) { return machine.warp() * 16 + machine.lane() / 4 + e / 2 * 8; }
int column_of(const EmulatedMachine& machine, int j, int e) { return 8 * j + machine.lane() % 4 * 2 + e % 2; }

TEST(AsyncUnits, DescriptorsHaveTheirFieldsWhereThePtxIsaPutsThem) {
  const std::uint64_t bits = matrix_descriptor(0x12340, 0x4000);
  EXPECT_EQ(bits & 0x3fff, 0x1234U);
  EXPECT_EQ(bits >> 16 & 0x3fff, 0x400U);
  EXPECT_EQ(bits >> 32 & 0x3fff, 64U);  // 1024 bytes from eight rows to the next
  EXPECT_EQ(bits >> 46, std::uint64_t{1} << 16);  // no base offset; 128-byte swizzle
  EXPECT_EQ(moved(bits, 32) - bits, 2U);
}

TEST(AsyncUnits, BoxesAreSwizzledAndZeroOutside) {
  Group group;
  group.run([&](EmulatedMachine& machine) {
    make_barriers(machine);
    if (machine.thread() == 0) {
      machine.barrier_expect(full, 64 * 128);
      machine.load_box(0, group.v.map(64), 64, 10, 0, full);  // 6 of 64 rows are there
    }
    machine.barrier_wait(full, 0);
    const int row = machine.thread() / 2;
    for (int column = machine.thread() % 2 * 32; column < machine.thread() % 2 * 32 + 32; ++column) {
      const int chunk = (column / 8) ^ (row % 8);
      const auto at = static_cast<std::uint32_t>(row * 128 + chunk * 16 + column % 8 * 2);
      const float want = row < 6 ? number(10 + row, 64 + column) : 0;
      ASSERT_EQ(to_float(machine.load_shared<bf16>(at)), want) << row << " " << column;
    }
  });
}

TEST(AsyncUnits, ProductsFromSharedMemory) {
  for (const bool descending : {false, true}) {
    Group group;
    group.run(
        [&](EmulatedMachine& machine) {
          make_barriers(machine);
          fetch(machine, group);
          machine.barrier_wait(full, 0);
          float c[16][4];
          machine.begin_products(c);
          for (int step = 0; step < 4; ++step) {
            machine.multiply_shared<bf16, 128>(c, moved(descriptor(machine, 0), 32 * step),
                                               moved(descriptor(machine, b_begin), 32 * step), step != 0);
          }
          machine.commit_products();
          machine.wait_products<0>(c);
          for (int at = 0; at < 64; ++at) {
            const int row = row_of(machine, at % 4);
            const int column = column_of(machine, at / 4, at % 4);
            float want = 0;
            for (int k = 0; k < 64; ++k) want += number(row, k) * number(column, k);
            ASSERT_EQ(c[at / 4][at % 4], want) << row << " " << column;
          }
        },
        128, descending);
  }
}

TEST(AsyncUnits, ProductsFromRegistersWithATransposedMatrix) {
  Group group;
  group.run([&](EmulatedMachine& machine) {
    make_barriers(machine);
    if (machine.thread() == 0) {
      machine.barrier_expect(full, 2 * 16 * 128);
      for (const int slab : {0, 1}) {
        machine.load_box(b_begin + static_cast<std::uint32_t>(slab * 2048), group.v.map(16), slab * 64, 0, 0, full);
      }
    }
    machine.barrier_wait(full, 0);
    std::uint32_t a[4];
    for (int r = 0; r < 4; ++r) {
      const int row = machine.warp() * 16 + machine.lane() / 4 + r % 2 * 8;
      const int k = machine.lane() % 4 * 2 + r / 2 * 8;
      a[r] = machine.pair<bf16>(number(row, k), number(row, k + 1));
    }
    float c[16][4];
    for (auto& tile : c) std::fill(tile, tile + 4, 1000.0F);
    machine.begin_products(c);
    machine.multiply_registers<bf16, 128>(c, a, descriptor(machine, b_begin, 2048));
    machine.commit_products();
    ASSERT_EQ(c[0][0], 1000);  // not before the wait
    machine.wait_products<0>(c);
    for (int at = 0; at < 64; ++at) {
      float want = 1000;
      for (int k = 0; k < 16; ++k) want += number(row_of(machine, at % 4), k) * number(k, column_of(machine, at / 4, at % 4));
      ASSERT_EQ(c[at / 4][at % 4], want) << at;
    }
  });
}

/// `body` between the barriers' init and its end, with A and B on their way.
std::string fault_after_fetch(const std::function<void(EmulatedMachine&, Group&)>& body) {
  Group group;
  return group.fault([&](EmulatedMachine& machine) {
    make_barriers(machine);
    fetch(machine, group);
    body(machine, group);
  });
}

void multiply_once(EmulatedMachine& machine, float (&c)[16][4]) {
  machine.multiply_shared<bf16, 128>(c, descriptor(machine, 0), descriptor(machine, b_begin), false);
}

TEST(AsyncUnits, FindsWhatIsReadTooEarly) {
  expect_fault("has not landed", fault_after_fetch([](EmulatedMachine& machine, Group&) {
                 float c[16][4];
                 machine.begin_products(c);
                 multiply_once(machine, c);
               }));
  expect_fault("whose barrier their warp has not waited for", fault_after_fetch([](EmulatedMachine& machine, Group&) {
                 if (machine.warp() == 0) machine.barrier_wait(full, 0);
                 machine.sync();  // it is there, but the other warps have not asked
                 float c[16][4];
                 machine.begin_products(c);
                 multiply_once(machine, c);
                 machine.commit_products();
                 machine.wait_products<0>(c);
               }));
  expect_fault("ends before its boxes", fault_after_fetch([](EmulatedMachine&, Group&) {}));
}

TEST(AsyncUnits, FindsWhatIsOverwrittenTooEarly) {
  const auto refill = [](bool wait) {
    return fault_after_fetch([wait](EmulatedMachine& machine, Group& group) {
      machine.barrier_wait(full, 0);
      float c[16][4];
      machine.begin_products(c);
      multiply_once(machine, c);
      machine.commit_products();
      if (wait) machine.wait_products<0>(c);
      if (machine.lane() == 0) machine.barrier_arrive(empty);
      machine.barrier_wait(empty, 0);
      fetch(machine, group);
      machine.barrier_wait(full, 1);
      if (!wait) machine.wait_products<0>(c);
    });
  };
  expect_fault("overwrites what products still read", refill(false));
  expect_fault("no fault", refill(true));
}

TEST(AsyncUnits, FindsProductsOutOfOrder) {
  const auto with = [](bool begun, bool waited, std::uint32_t b) {
    return fault_after_fetch([=](EmulatedMachine& machine, Group&) {
      machine.barrier_wait(full, 0);
      float c[16][4];
      if (begun) machine.begin_products(c);
      machine.multiply_shared<bf16, 128>(c, descriptor(machine, 0), descriptor(machine, b), false);
      machine.commit_products();
      if (waited) machine.wait_products<0>(c);
    });
  };
  expect_fault("no fault", with(true, true, b_begin));
  expect_fault("wgmma.fence", with(false, true, b_begin));
  expect_fault("ends before its products", with(true, false, b_begin));
  expect_fault("outside of shared memory", with(true, true, full));
}

TEST(AsyncUnits, FindsGroupsThatAreNotOfOneMind) {
  const auto with = [](bool by_lane) {
    return fault_after_fetch([by_lane](EmulatedMachine& machine, Group&) {
      machine.barrier_wait(full, 0);
      float c[16][4];
      machine.begin_products(c);
      const bool other = by_lane ? machine.lane() == 3 : machine.warp() == 3;
      machine.multiply_shared<bf16, 128>(c, moved(descriptor(machine, 0), other ? 32 : 0), descriptor(machine, b_begin), false);
      machine.commit_products();
      machine.wait_products<0>(c);
    });
  };
  expect_fault("lanes of a warp", with(true));
  expect_fault("warps of a warpgroup", with(false));
}

TEST(AsyncUnits, FindsBarriersMisused) {
  Group group;
  expect_fault("without a fence and a sync", group.fault([](EmulatedMachine& machine) {
    if (machine.thread() == 0) machine.barrier_init(full, 1);
    machine.sync();
    machine.barrier_wait(full, 1);
  }));
  expect_fault("no barrier at", group.fault([](EmulatedMachine& machine) {
    make_barriers(machine);
    machine.barrier_wait(full + 16, 1);
  }));
  expect_fault("deadlock", group.fault([](EmulatedMachine& machine) {
    make_barriers(machine);
    machine.barrier_wait(full, 1);  // over before the first turn
    machine.barrier_wait(full, 0);
  }));
  expect_fault("deadlock", group.fault([&](EmulatedMachine& machine) {  // a byte too many
    make_barriers(machine);
    if (machine.thread() == 0) {
      machine.barrier_expect(full, 64 * 128 + 1);
      machine.load_box(0, group.a.map(64), 0, 0, 0, full);
    }
    machine.barrier_wait(full, 0);
  }));
  expect_fault("a box at", group.fault([&](EmulatedMachine& machine) {
    make_barriers(machine);
    if (machine.thread() == 0) machine.load_box(512, group.a.map(64), 0, 0, 0, full);
  }));
}

}  // namespace
}  // namespace annulus::test
