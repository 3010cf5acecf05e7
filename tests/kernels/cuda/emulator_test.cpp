/// The emulator itself: fragment layouts against plain products, and every fault that it promises to find.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/kernels/cuda/emulated_run.hpp"

namespace annulus::test {
namespace {

/// Small integers: exact in every type, and every product of them.
float a_of(int row, int k) { return static_cast<float>((row * 7 + k * 3) % 11 - 5); }
float b_of(int k, int column) { return static_cast<float>((k * 5 + column * 13) % 9 - 4); }

/// C = A B of 16 x 16 and 16 x 8, A through ldmatrix and B either as rows of B^T through ldmatrix or as rows of B
/// through ldmatrix.trans: the two ways of the kernels. Layouts as the PTX ISA draws them, written out once more.
template <class T>
void multiply_once(EmulatedMachine& machine, bool transposed, std::array<float, 128>& result) {
  constexpr std::uint32_t b_begin = 512;
  if (machine.thread() == 0) {
    for (int row = 0; row < 16; ++row) {
      for (int k = 0; k < 16; ++k)
        machine.store_shared(static_cast<std::uint32_t>(row * 16 + k) * 2, from_float<T>(a_of(row, k)));
    }
    for (int k = 0; k < 16; ++k) {
      for (int column = 0; column < 8; ++column) {
        const int at = transposed ? k * 8 + column : column * 16 + k;
        machine.store_shared(b_begin + static_cast<std::uint32_t>(at) * 2, from_float<T>(b_of(k, column)));
      }
    }
  }
  machine.sync();
  const int lane = machine.lane();
  std::uint32_t a[4];
  std::uint32_t b[4];
  machine.load_matrices(static_cast<std::uint32_t>(lane % 16 * 32 + lane / 16 * 16), a);
  if (transposed) {
    machine.load_matrices_transposed(b_begin + static_cast<std::uint32_t>(lane % 16 * 16), b);
  } else {
    machine.load_matrices(b_begin + static_cast<std::uint32_t>(lane % 8 * 32 + lane / 8 % 2 * 16), b);
  }
  float c[4] = {100, 200, 300, 400};
  machine.multiply<T>(c, a, b[0], b[1]);
  const int g = lane / 4;
  const int t = lane % 4;
  for (int e = 0; e < 4; ++e)
    result[static_cast<std::size_t>((g + e / 2 * 8) * 8 + 2 * t + e % 2)] = c[e] - 100.0F * static_cast<float>(e + 1);
}

template <class T>
void expect_product() {
  for (const bool transposed : {false, true}) {
    std::array<float, 128> result{};
    run(32, 1024, [&](EmulatedMachine& machine) { multiply_once<T>(machine, transposed, result); });
    for (int row = 0; row < 16; ++row) {
      for (int column = 0; column < 8; ++column) {
        float want = 0;
        for (int k = 0; k < 16; ++k) want += a_of(row, k) * b_of(k, column);
        ASSERT_EQ(result[static_cast<std::size_t>(row * 8 + column)], want) << row << ", " << column;
      }
    }
  }
}

TEST(Emulator, MultipliesBf16) { expect_product<bf16>(); }
TEST(Emulator, MultipliesF16) { expect_product<f16>(); }

TEST(Emulator, PairsPutTheFirstElementLow) {
  run(32, 0, [](EmulatedMachine& machine) {
    const std::uint32_t word = machine.pair<bf16>(1, 2);
    EXPECT_EQ(word, 0x40003f80U);
    EXPECT_EQ(machine.floats<bf16>(word).x, 1);
    EXPECT_EQ(machine.floats<bf16>(word).y, 2);
  });
}

TEST(Emulator, ShufflesAndVotes) {
  run(64, 0, [](EmulatedMachine& machine) {
    const auto self = static_cast<float>(machine.thread());
    const int warp = machine.warp() * 32;
    EXPECT_EQ(machine.shuffle_xor(self, 5), static_cast<float>(warp + (machine.lane() ^ 5)));
    EXPECT_EQ(machine.shuffle(self, 7), static_cast<float>(warp + 7));
    EXPECT_TRUE(machine.all(true));
    EXPECT_FALSE(machine.all(machine.lane() != 3));
  });
}

TEST(Emulator, CopiesLandAtTheWait) {
  EmulatedMemory memory;
  auto* const source = static_cast<float*>(memory.allocate(32));
  for (int i = 0; i < 8; ++i) source[i] = static_cast<float>(i + 1);
  EmulatedBlock block(memory);
  block.run(32, 32, false, [&](int thread) {
    EmulatedMachine machine(block, thread, 0);
    if (thread == 0) {
      machine.copy_async(0, source, true);
      machine.copy_async(16, source + 4, false);
      EXPECT_TRUE(std::isnan(machine.load_shared<float>(0)));
      machine.wait_all();
    }
    machine.sync();
    EXPECT_EQ(machine.load_shared<float>(12), 4);
    EXPECT_EQ(machine.load_shared<float>(16), 0);
  });
}

TEST(Emulator, FindsReadsBeforeTheSync) {
  expect_fault("without a sync", fault(32, 64, [](EmulatedMachine& machine) {
                 if (machine.thread() == 0) machine.store_shared(0, 1.0F);
                 machine.load_shared<float>(0);
               }));
}

TEST(Emulator, FindsWritesOverWhatOthersRead) {
  expect_fault("without a sync", fault(64, 64, [](EmulatedMachine& machine) {
                 if (machine.warp() == 0) machine.load_shared<float>(0);
                 if (machine.thread() == 40) machine.store_shared(0, 1.0F);
               }));
}

TEST(Emulator, FindsCopiesReadByOthersAfterTheWaitAlone) {
  EmulatedMemory memory;
  const void* const source = memory.allocate(16);
  EmulatedBlock block(memory);
  EXPECT_THROW(block.run(32, 64, false,
                         [&](int thread) {
                           EmulatedMachine machine(block, thread, 0);
                           if (thread == 0) machine.copy_async(0, source, true);
                           machine.wait_all();
                           machine.load_shared<float>(0);
                         }),
               EmulationError);
}

TEST(Emulator, FindsCopiesThatNobodyWaitsFor) {
  EmulatedMemory memory;
  const void* const source = memory.allocate(16);
  EmulatedBlock block(memory);
  EXPECT_THROW(block.run(32, 64, false,
                         [&](int thread) {
                           if (thread == 0) EmulatedMachine(block, thread, 0).copy_async(0, source, true);
                         }),
               EmulationError);
}

TEST(Emulator, FindsDivergence) {
  expect_fault("diverges", fault(32, 0, [](EmulatedMachine& machine) {
                 if (machine.lane() < 16) {
                   machine.shuffle(1, 0);
                 } else {
                   machine.all(true);
                 }
               }));
  expect_fault("deadlock", fault(32, 0, [](EmulatedMachine& machine) {
                 if (machine.lane() < 16) machine.shuffle(1, 0);
               }));
  expect_fault("deadlock", fault(64, 0, [](EmulatedMachine& machine) {
                 if (machine.warp() == 0) machine.sync();
               }));
}

TEST(Emulator, FindsBadAddresses) {
  expect_fault("out of range", fault(32, 64, [](EmulatedMachine& machine) { machine.load_shared<float>(64); }));
  expect_fault("misaligned", fault(32, 64, [](EmulatedMachine& machine) { machine.load_shared<double>(4); }));
  expect_fault("misaligned", fault(32, 64, [](EmulatedMachine& machine) {
                 std::uint32_t r[4];
                 machine.load_matrices(8, r);
               }));
  static float elsewhere = 0;
  expect_fault("outside", fault(32, 0, [](EmulatedMachine& machine) { machine.load(&elsewhere); }));
  EmulatedMemory memory;
  auto* const four = static_cast<float*>(memory.allocate(16));
  EXPECT_NO_THROW(memory.check(four + 3, 4, 4));
  EXPECT_THROW(memory.check(four + 4, 4, 4), EmulationError);
  EXPECT_THROW(memory.check(reinterpret_cast<std::byte*>(four) + 2, 4, 4), EmulationError);
  memory.release(four);
  EXPECT_THROW(memory.check(four, 4, 4), EmulationError);
}

TEST(Emulator, NewMemoryIsNaN) {
  EmulatedMemory memory;
  EXPECT_TRUE(std::isnan(*static_cast<float*>(memory.allocate(4))));
  run(32, 16, [](EmulatedMachine& machine) { EXPECT_TRUE(std::isnan(machine.load_shared<float>(12))); });
}

}  // namespace
}  // namespace annulus::test
