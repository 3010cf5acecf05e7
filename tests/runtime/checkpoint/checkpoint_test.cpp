/// What any number of ranks saves in any layout, any other number loads in any other layout, bit for bit.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/checkpoint.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <fstream>
#include <set>

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
      if (savers > comm_.size()) continue;
      ++seed;
      on_ranks(savers, [&](const Communicator& part) { save(part, 3, seed, kind); });
      for (const int loaders : {1, 2, 3, 5, 8}) {
        if (loaders > comm_.size()) continue;
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

TEST_F(CheckpointTest, IsPlainHdf5InGlobalOrder) {
  save(comm_, 3, 7, LayoutKind::striped);
  if (comm_.rank() != 0) return;
  CheckpointCase whole(Layout(LayoutKind::contiguous, seq, 1), 0);
  whole.fill(7);
  const std::string file = folder_ / "ckpt/step-000003/activations.h5";
  const auto x = test::read_plain(file, "layers/000003/x");
  ASSERT_TRUE(x);
  EXPECT_EQ(x->type, "f32");
  EXPECT_EQ(x->dims, (std::vector<std::int64_t>{2, seq, 640}));
  const float* wanted = whole.x().at<float>(0, 0, 0);
  for (std::size_t i = 0; i < x->values.size(); ++i) {
    ASSERT_TRUE(x->values[i] == wanted[i] || std::isnan(wanted[i])) << i;
  }
  const auto q = test::read_plain(file, "layers/000003/q");
  EXPECT_EQ(q->type, "bf16");
  EXPECT_EQ(q->dims, (std::vector<std::int64_t>{2, seq, 3, 5}));
  EXPECT_EQ(test::read_plain(file, "layers/000003/lse")->dims, (std::vector<std::int64_t>{2, 3, seq}));
}

TEST_F(CheckpointTest, TakesShardsWithoutRowsAndTensorsWithoutElements) {
  for (const std::int64_t few : {0, 1, 3}) {
    for (const LayoutKind kind : layouts) {
      const Layout layout(kind, few, comm_.size());
      CheckpointCase shards(layout, comm_.rank());
      shards.fill(9);
      Checkpoint checkpoint(comm_.raw(), folder_ / "few");
      checkpoint.save({.step = few}, shards.saved());
      const CheckpointCase found(layout, comm_.rank());
      checkpoint.load(found.loaded());
      EXPECT_EQ(found.wrong(9), 0) << few << " rows, " << name(kind);
    }
  }
}

TEST_F(CheckpointTest, KeepsTheNewestInTheOrderOfSaving) {
  Checkpoint checkpoint(comm_.raw(), folder_ / "ckpt", {.keep = 3});
  CheckpointCase shards(layout(LayoutKind::zigzag, comm_), comm_.rank());
  std::vector<std::string> pruned;
  for (const std::int64_t step : {3, 5, 9, 4, 5}) {  // resumed from an earlier one, and saved again
    shards.fill(static_cast<std::uint64_t>(step));
    const SaveReport report = checkpoint.save({.step = step}, shards.saved());
    EXPECT_TRUE(report.prune_problem.empty()) << report.prune_problem;
    EXPECT_EQ(std::filesystem::path(report.path).filename(), "step-00000" + std::to_string(step));
    pruned.insert(pruned.end(), report.pruned.begin(), report.pruned.end());
  }
  EXPECT_EQ(checkpoint.load(shards.loaded()).notes.step, 5);
  EXPECT_EQ(pruned, (std::vector{folder_ / "ckpt/step-000003", folder_ / "ckpt/step-000005.old"}));
  comm_.barrier();
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder_ / "ckpt")) names.insert(entry.path().filename());
  EXPECT_EQ(names, (std::set<std::string>{".lock", "step-000004", "step-000005", "step-000009"}));
}

TEST_F(CheckpointTest, CarriesAnyPlan) {
  std::string plan(200'000, 'p');
  plan += "\n  \"manifest_xxh64\": \"0000000000000000\"\n}\n \t \\ \xc3\xa9";
  Checkpoint checkpoint(comm_.raw(), folder_ / "ckpt");
  CheckpointCase shards(layout(LayoutKind::zigzag, comm_), comm_.rank());
  checkpoint.save({.step = 1, .plan = plan, .seed = 0xffffffffffffffffU}, shards.saved());
  const LoadReport report = checkpoint.load(shards.loaded());
  EXPECT_EQ(report.notes.plan, plan);
  EXPECT_EQ(report.notes.seed, 0xffffffffffffffffU);
}

TEST_F(CheckpointTest, GivesRowsOfAnyPieces) {
  save(comm_, 3, 5, LayoutKind::contiguous);
  const Layout own(LayoutKind::zigzag, seq, comm_.size());
  std::vector<Piece> pieces;  // the shard with a halo of up to 20 rows before each piece
  std::int64_t rows = 0;
  for (const Piece& piece : own.pieces(comm_.rank())) {
    const std::int64_t begin = std::max<std::int64_t>(0, piece.pos - 20);
    pieces.push_back({rows, begin, piece.pos + piece.rows - begin});
    rows += pieces.back().rows;
  }
  Buffer<float> values(2 * rows * 640);
  const TensorView view = dense_view(reinterpret_cast<std::byte*>(values.data()), DType::f32, 2, rows, 1, 640);
  Checkpoint(comm_.raw(), folder_ / "ckpt").load_newest([&](const SavedGeneration& generation) {
    ASSERT_EQ(generation.tensors().size(), 3U);
    EXPECT_EQ(generation.tensors()[0].saved_layout, LayoutKind::contiguous);
    generation.load_rows("layers/000003/x", pieces, view);
    const Piece outside{0, seq - 1, 2};
    EXPECT_THROW(generation.load_rows("layers/000003/x", {&outside, 1}, view), UsageError);
  });
  CheckpointCase whole(Layout(LayoutKind::contiguous, seq, 1), 0);
  whole.fill(5);
  for (std::int64_t b = 0; b < 2; ++b) {
    for (const Piece& piece : pieces) {
      const auto bytes = static_cast<std::size_t>(piece.rows * 640 * 4);
      EXPECT_EQ(std::memcmp(view.at<float>(b, piece.row, 0), whole.x().at<float>(b, piece.pos, 0), bytes), 0);
    }
  }
}

TEST_F(CheckpointTest, RefusesWhatCannotBeSavedBeforeItTouchesAnything) {
  Checkpoint checkpoint(comm_.raw(), folder_ / "ckpt");
  CheckpointCase shards(layout(LayoutKind::zigzag, comm_), comm_.rank());
  const auto refusal = [&](const CheckpointNotes& notes, const std::vector<SavedShard>& tensors) {
    try {
      checkpoint.save(notes, tensors);
    } catch (const UsageError& error) {
      return std::string(error.what());
    }
    return std::string("saved");
  };
  const auto said = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  const std::vector<SavedShard> good = shards.saved();
  const auto with = [&](auto&& change) {
    std::vector<SavedShard> changed = good;
    change(changed);
    return changed;
  };
  said(refusal({.step = -1}, good), "step -1");
  said(refusal({.plan = "\xff"}, good), "UTF-8");
  said(refusal({}, {}), "no tensor");
  said(refusal({}, with([](auto& tensors) { tensors[0].name = "../x"; })), "cannot name a tensor");
  said(refusal({}, with([](auto& tensors) { tensors[1].name = tensors[0].name; })), "two tensors are named");
  said(refusal({}, with([](auto& tensors) { tensors[1].name = tensors[0].name + "/y"; })), "and the group of");
  said(refusal({},
               with([&](auto& tensors) { tensors[0].layout = Layout(LayoutKind::zigzag, seq + 999, comm_.size()); })),
       "do not fit its layout");
  said(refusal({}, with([](auto& tensors) { std::get<ConstTensorView>(tensors[0].rows).head_dim = 5'000'000; })),
       "16 MiB");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "ckpt"));
}

TEST_F(CheckpointTest, NoticesThatRanksDisagree) {
  if (comm_.size() == 1) GTEST_SKIP() << "one rank agrees with itself";
  Checkpoint checkpoint(comm_.raw(), folder_ / "ckpt");
  CheckpointCase shards(layout(LayoutKind::zigzag, comm_), comm_.rank());
  const CheckpointNotes notes{.step = 1, .plan = comm_.rank() == 1 ? "other" : "plan"};
  try {
    checkpoint.save(notes, shards.saved());
    ADD_FAILURE() << "it was saved";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("rank"), std::string::npos) << error.what();
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "ckpt"));
}

TEST_F(CheckpointTest, NoticesThatRanksWantOtherTensors) {
  if (comm_.size() == 1) GTEST_SKIP() << "one rank agrees with itself";
  save(comm_, 1, 1);
  const bool odd = comm_.rank() == 1;
  const auto refuses = [&](const std::function<void(const SavedGeneration&)>& load) {
    EXPECT_THROW(Checkpoint(comm_.raw(), folder_ / "ckpt").load_newest(load), UsageError);
  };
  const CheckpointCase zigzag(layout(LayoutKind::zigzag, comm_), comm_.rank());
  refuses([&](const SavedGeneration& generation) {
    std::vector<LoadedShard> shards = zigzag.loaded();
    if (odd) std::swap(shards.front(), shards.back());
    generation.load(shards);
  });
  refuses([&](const SavedGeneration& generation) {
    std::vector<LoadedShard> shards = zigzag.loaded();
    if (odd) shards.pop_back();
    generation.load(shards);
  });
  const CheckpointCase other(layout(odd ? LayoutKind::contiguous : LayoutKind::zigzag, comm_), comm_.rank());
  refuses([&](const SavedGeneration& generation) { generation.load(other.loaded()); });
  refuses([&](const SavedGeneration& generation) {
    Buffer<float> none(0);
    const auto bytes = reinterpret_cast<std::byte*>(none.data());
    const TensorView x = dense_view(bytes, DType::f32, 2, 0, 1, 640);
    const TensorView q = dense_view(bytes, DType::bf16, 2, 0, 3, 5);
    generation.load_rows(odd ? "layers/000003/q" : "layers/000003/x", {}, odd ? q : x);
  });
  EXPECT_NO_THROW(Checkpoint(comm_.raw(), folder_ / "ckpt").load(zigzag.loaded()));
}

TEST_F(CheckpointTest, IsRefusedWhereNothingCanBeSavedOrLoaded) {
  EXPECT_THROW(Checkpoint(comm_.raw(), folder_ / "absent/ckpt").claim(), ResourceError);
  EXPECT_THROW(Checkpoint(comm_.raw(), "/proc").claim(), ResourceError);
  EXPECT_THROW(Checkpoint(comm_.raw(), ""), UsageError);
  EXPECT_THROW(Checkpoint(comm_.raw(), folder_ / "ckpt", {.keep = 0}), UsageError);
  const auto nothing = [](const SavedGeneration&) { ADD_FAILURE() << "something was found"; };
  EXPECT_THROW(Checkpoint(comm_.raw(), folder_ / "absent").load_newest(nothing), InputError);
  EXPECT_THROW(Checkpoint(comm_.raw(), folder_.path().string()).load_newest(nothing), InputError);
}

TEST_F(CheckpointTest, PassesOnWhatItsUserThrows) {
  save(comm_, 1, 1);
  save(comm_, 2, 2);
  int calls = 0;
  const auto use = [&](const SavedGeneration&) {
    ++calls;
    throw UsageError("another model");
  };
  EXPECT_THROW(Checkpoint(comm_.raw(), folder_ / "ckpt").load_newest(use), UsageError);
  EXPECT_EQ(calls, 1);
}

TEST_F(CheckpointTest, SpeaksOfNoOlderDamage) {
  save(comm_, 4, 1);
  save(comm_, 6, 2);
  if (comm_.rank() == 0) std::filesystem::remove(folder_ / "ckpt/step-000004/manifest.json");
  comm_.barrier();
  const CheckpointCase found(layout(LayoutKind::zigzag, comm_), comm_.rank());
  const LoadReport report = Checkpoint(comm_.raw(), folder_ / "ckpt").load(found.loaded());
  EXPECT_EQ(report.notes.step, 6);
  EXPECT_TRUE(report.skipped.empty());
}

TEST_F(CheckpointTest, LeavesNothingOpen) {
  const auto open_files = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
  };
  CheckpointCase shards(layout(LayoutKind::zigzag, comm_), comm_.rank());
  std::ptrdiff_t after_first = 0;
  for (int i = 0; i < 5; ++i) {
    {
      Checkpoint checkpoint(comm_.raw(), folder_ / "ckpt");
      checkpoint.save({.step = i}, shards.saved());
      checkpoint.load(shards.loaded());
    }
    if (i == 0) after_first = open_files();
  }
  EXPECT_EQ(open_files(), after_first);
}

TEST_F(CheckpointTest, RemovesWhatADeadJobLeft) {
  save(comm_, 1, 1);
  const std::string leftover = folder_ / "ckpt/.tmp-step-000002.77-1";
  if (comm_.rank() == 0) {
    std::filesystem::create_directory(leftover);
    std::ofstream(leftover + "/activations.h5") << "half a file";
  }
  comm_.barrier();
  const CheckpointCase found(layout(LayoutKind::zigzag, comm_), comm_.rank());
  EXPECT_EQ(Checkpoint(comm_.raw(), folder_ / "ckpt").load(found.loaded()).notes.step, 1);
  EXPECT_TRUE(std::filesystem::exists(leftover)) << "loading removes nothing";
  comm_.barrier();
  save(comm_, 2, 2);
  EXPECT_FALSE(std::filesystem::exists(leftover));
}

}  // namespace
}  // namespace annulus
