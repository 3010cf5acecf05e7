/// What any number of ranks saves in any layout, any other number loads in any other layout, bit for bit.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/checkpoint.hpp"

#include <gtest/gtest.h>

#include "tests/runtime/checkpoint/checkpoint_case.hpp"
#include "tests/runtime/checkpoint/plain_hdf5.hpp"

namespace annulus {
namespace {

using test::CheckpointCase;
using test::SharedFolder;

constexpr std::int64_t seq = 1031;  // with width 640: six granules, cut inside a batch
constexpr std::array layouts{LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped};

class CheckpointTest : public testing::Test {
 protected:
  /// Runs on the first `ranks` ranks, with a communicator of theirs.
  template <class Work>
  void on_ranks(int ranks, Work&& work) {
    const Communicator part = comm_.split(comm_.rank() < ranks ? 0 : 1);
    if (comm_.rank() < ranks) work(part);
    comm_.barrier();
  }
  Layout layout(LayoutKind kind, const Communicator& comm, std::int64_t stripe = 1) const {
    return Layout(kind, seq, comm.size(), stripe);
  }
  void save(const Communicator& comm, std::int64_t step, std::uint64_t seed, LayoutKind kind = LayoutKind::zigzag) {
    Checkpoint checkpoint(comm.raw(), folder_ / "ckpt");
    CheckpointCase shards(layout(kind, comm, 3), comm.rank());
    shards.fill(seed);
    checkpoint.save({.step = step, .plan = "{\"layers\": 3}", .seed = seed}, shards.saved());
  }

  Communicator comm_ = Communicator::duplicate(MPI_COMM_WORLD);
  SharedFolder folder_{comm_};
};

TEST_F(CheckpointTest, IsTheSameForEveryRankCountAndLayout) {
  std::uint64_t seed = 0;
  for (const int savers : {1, 2, 3, 5, 8}) {
    for (const LayoutKind kind : layouts) {
      ++seed;
      on_ranks(savers, [&](const Communicator& part) { save(part, 3, seed, kind); });
      for (const int loaders : {1, 2, 3, 5, 8}) {
        on_ranks(loaders, [&](const Communicator& part) {
          for (const LayoutKind other : layouts) {
            const CheckpointCase found(layout(other, part, 2), part.rank());
            const LoadReport report = Checkpoint(part.raw(), folder_ / "ckpt").load(found.loaded());
            EXPECT_EQ(found.wrong(seed), 0) << savers << " " << name(kind) << " to " << loaders << " " << name(other);
            EXPECT_EQ(report.notes.seed, seed);
            EXPECT_EQ(report.notes.plan, "{\"layers\": 3}");
          }
        });
      }
    }
  }
}

}  // namespace
}  // namespace annulus
