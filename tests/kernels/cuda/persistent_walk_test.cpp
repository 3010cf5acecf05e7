/// A grid that stays: who works at which places, and how evenly.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/persistent_walk.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/cuda/dispatch.hpp"

namespace annulus::test {
namespace {

using kernels::cuda::Dispatch;
using kernels::cuda::HopperForwardArgs;
using kernels::cuda::KernelKind;
using kernels::cuda::PersistentWalk;

std::vector<std::uint32_t> walk(std::uint32_t block, std::uint32_t blocks, std::uint32_t places) {
  std::vector<std::uint32_t> places_of_block;
  for (PersistentWalk walk(block, blocks, places); !walk.done(); walk.next()) places_of_block.push_back(walk.place());
  return places_of_block;
}

TEST(PersistentWalk, TurnsAtTheEndOfEachRound) {
  EXPECT_EQ(walk(0, 3, 12), (std::vector<std::uint32_t>{0, 5, 6, 11}));
  EXPECT_EQ(walk(1, 3, 12), (std::vector<std::uint32_t>{1, 4, 7, 10}));
  EXPECT_EQ(walk(2, 3, 12), (std::vector<std::uint32_t>{2, 3, 8, 9}));
}

TEST(PersistentWalk, EveryPlaceIsOneBlocks) {
  for (const std::uint32_t blocks : {1, 2, 3, 7, 132}) {
    for (std::uint32_t places = blocks; places < 5 * blocks; places += 1 + blocks / 6) {
      std::vector<int> visits(places, 0);
      for (std::uint32_t block = 0; block < blocks; ++block) {
        for (const std::uint32_t place : walk(block, blocks, places)) ++visits[place];
      }
      EXPECT_EQ(visits, std::vector<int>(places, 1)) << blocks << " blocks";
    }
  }
}

/// Triangular work, as of a causal mask: 64 row tiles of 24 heads on 132 processors, the last round not full.
TEST(PersistentWalk, ABlockMakesUpForOneRoundInTheNext) {
  constexpr std::uint32_t heads = 24;
  constexpr std::uint32_t tiles = 64;
  constexpr std::uint32_t blocks = 132;
  const auto work = [](std::uint32_t place) { return tiles - place / heads; };
  std::vector<std::uint32_t> of_block(blocks);
  for (std::uint32_t block = 0; block < blocks; ++block) {
    for (const std::uint32_t place : walk(block, blocks, heads * tiles)) of_block[block] += work(place);
  }
  const auto [least, most] = std::ranges::minmax(of_block);
  EXPECT_LE(most - least, 1U) << "of some 380; 59 if all rounds went ahead";
  EXPECT_EQ(std::accumulate(of_block.begin(), of_block.end(), 0U), heads * tiles * (tiles + 1) / 2);
}

struct Grid {
  std::int64_t blocks = 0;
  std::int64_t places = 0;
};

/// What a device with 10 processors is asked to launch.
Grid grid_of(bool hopper, std::int64_t places) {
  Grid grid;
  const auto map = [](auto&&...) { return kernels::cuda::TensorMap{}; };
  const auto launch = [&]<class Kernel>(std::int64_t blocks, const auto& args) {
    grid = {blocks, blocks};
    if constexpr (std::is_same_v<typename Kernel::Args, HopperForwardArgs>) grid.places = args.places;
  };
  kernels::cuda::ForwardArgs args{};
  args.extents = {.batch = 1, .heads = 1, .group = 1, .padded_rows = 128, .key_rows = 1};
  Dispatch(hopper, 10).forward(KernelKind{DType::bf16, 64, false}, places, args, map, launch);
  return grid;
}

TEST(PersistentGrid, FillsTheProcessorsAndNoMore) {
  EXPECT_EQ(grid_of(true, 1234).blocks, 10);
  EXPECT_EQ(grid_of(true, 1234).places, 1234);
  EXPECT_EQ(grid_of(true, 3).blocks, 3);
  EXPECT_EQ(grid_of(false, 1234).blocks, 1234);
}

TEST(PersistentGrid, PlacesAreCheckedAsBlocksAre) {
  EXPECT_EQ(grid_of(true, (std::int64_t{1} << 31) - 1).blocks, 10);
  EXPECT_THROW(grid_of(true, std::int64_t{1} << 31), ResourceError);
}

}  // namespace
}  // namespace annulus::test
