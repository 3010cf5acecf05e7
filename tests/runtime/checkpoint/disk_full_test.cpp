/// The 1st, 2nd, ... n-th call that changes the disk fails until none does: after each, a save either has succeeded or
/// has changed nothing, on all ranks alike.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <set>

#include "runtime/checkpoint/checkpoint.hpp"
#include "tests/runtime/checkpoint/checkpoint_case.hpp"
#include "tests/runtime/checkpoint/failing_disk.hpp"

namespace annulus {
namespace {

namespace fs = std::filesystem;
using test::CheckpointCase;

constexpr std::uint64_t old_seed = 1;
constexpr std::uint64_t new_seed = 2;
constexpr std::int64_t width = 256;  // three granules

class DiskFullTest : public testing::Test {
 protected:
  SaveReport save(Checkpoint& checkpoint, std::int64_t step, std::uint64_t seed) {
    CheckpointCase shards(layout_, comm_.rank(), width);
    shards.fill(seed);
    return checkpoint.save({.step = step, .seed = seed}, shards.saved());
  }
  /// The seed of what the newest generation holds, which must be whole.
  std::uint64_t newest() {
    const CheckpointCase found(layout_, comm_.rank(), width);
    const LoadReport report = Checkpoint(comm_.raw(), path_).load(found.loaded());
    EXPECT_TRUE(report.skipped.empty());
    EXPECT_EQ(found.wrong(report.notes.seed), 0);
    return report.notes.seed;
  }
  enum class Result { refused, saved, saved_but_not_pruned };
  /// A refusal must be a ResourceError on every rank.
  Result try_to_save(Checkpoint& checkpoint, std::int64_t step) {
    try {
      const bool pruned = save(checkpoint, step, new_seed).prune_problem.empty();
      return pruned ? Result::saved : Result::saved_but_not_pruned;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::resources) << error.what();
      return Result::refused;
    }
  }
  std::set<std::string> generations() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(path_)) names.insert(entry.path().filename().string());
    names.erase(".lock");
    return names;
  }
  bool anywhere(bool mine) {
    std::array<std::uint64_t, 1> flag{mine ? 1U : 0U};
    comm_.max(flag);
    return flag[0] != 0;
  }
  /// Saves `step` over and over, with the n-th call of one rank failing, until none fails. Returns how many failed.
  int fail_every_call(std::int64_t step, int failing_rank, test::Fault fault, bool can_reserve = true);

  Communicator comm_ = Communicator::duplicate(MPI_COMM_WORLD);
  test::SharedFolder folder_{comm_};
  std::string path_ = folder_ / "ckpt";
  Layout layout_{LayoutKind::zigzag, 1031, comm_.size()};
};

int DiskFullTest::fail_every_call(std::int64_t step, int failing_rank, test::Fault fault, bool can_reserve) {
  for (int n = 1; n < 100; ++n) {
    SCOPED_TRACE("call " + std::to_string(n) + " of rank " + std::to_string(failing_rank));
    if (comm_.rank() == 0) fs::remove_all(path_);
    Checkpoint checkpoint(comm_.raw(), path_);
    save(checkpoint, 1, old_seed);
    if (comm_.rank() == failing_rank) test::fail_disk(path_, n, fault);
    if (!can_reserve) test::disk_cannot_reserve();
    const Result result = try_to_save(checkpoint, step);
    const bool failed = anywhere(test::repair_disk());
    EXPECT_EQ(result == Result::saved, !failed) << "every failure is told, and nothing else";
    const std::uint64_t seed = newest();
    if (result != Result::refused) {
      EXPECT_EQ(seed, new_seed);
    } else if (seed == old_seed && fault == test::Fault::once) {
      EXPECT_EQ(generations().size(), 1U) << "something was left";
    }
    comm_.barrier();
    if (!failed) return n - 1;
  }
  return 100;
}

TEST_F(DiskFullTest, AtAnyCallLeavesTheOldGenerationOrTheNewOne) {
  const int calls = fail_every_call(2, 0, test::Fault::once);
  EXPECT_GT(calls, 12) << "the fault does not reach the disk";
  EXPECT_LT(calls, 100) << "it fails for ever";
}

TEST_F(DiskFullTest, AtAnyCallLeavesAGenerationOfTheSameStep) {
  const int calls = fail_every_call(1, 0, test::Fault::from_then_on);
  EXPECT_GT(calls, 12);
  EXPECT_LT(calls, 100);
}

TEST_F(DiskFullTest, OnAnyOtherRankIsAFailureOfAll) {
  if (comm_.size() == 1) GTEST_SKIP() << "there is no other rank";
  const int calls = fail_every_call(2, comm_.size() - 1, test::Fault::once);
  EXPECT_GT(calls, 1);
  EXPECT_LT(calls, 100);
}

TEST_F(DiskFullTest, IsSurvivedWhereSpaceCannotBeReserved) {
  const int calls = fail_every_call(2, 0, test::Fault::from_then_on, false);
  EXPECT_GT(calls, 12);
  EXPECT_LT(calls, 100);
}

TEST_F(DiskFullTest, OrOneThatLosesDataIsNoticed) {
  int refused = 0;
  for (int n = 1; n < 100; ++n) {
    Checkpoint checkpoint(comm_.raw(), path_);
    if (comm_.rank() == comm_.size() - 1) test::fail_disk(path_, n, test::Fault::lie);
    const Result result = try_to_save(checkpoint, 2);
    if (!anywhere(test::repair_disk())) break;
    if (result == Result::refused) {
      ++refused;
    } else {
      EXPECT_EQ(newest(), new_seed) << "lost zeros are the zeros of a new file, lost values are not";
    }
  }
  EXPECT_GT(refused, 0);
}

/// As a limit on file sizes does it: for real, and before any data.
TEST_F(DiskFullTest, IsFoundWhenSpaceIsReserved) {
  Checkpoint checkpoint(comm_.raw(), path_);
  save(checkpoint, 1, old_seed);
  struct rlimit before {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small { 1 << 20, before.rlim_max };
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, comm_.rank() == 0 ? &small : &before), 0);
  EXPECT_EQ(try_to_save(checkpoint, 2), Result::refused);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(newest(), old_seed);
}

}  // namespace
}  // namespace annulus
