/// What is written on some ranks and layouts is read on others; what cannot be trusted is refused by all alike.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/tensor_file.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "runtime/checkpoint/hdf5_error.hpp"
#include "runtime/checkpoint/row_runs.hpp"
#include "tests/runtime/checkpoint/plain_hdf5.hpp"
#include "tests/support/random_tensors.hpp"

namespace annulus {
namespace {

namespace fs = std::filesystem;
using test::PlainDataset;

constexpr std::uint64_t seed = 7;
constexpr std::int64_t batch = 2;
constexpr std::int64_t seq = 13;
constexpr std::int64_t heads = 3;
constexpr std::int64_t head_dim = 5;

std::string word(DType dtype) { return std::string(name(dtype)); }

/// The whole tensor in global order, rounded to `dtype`.
std::vector<double> whole_tensor(DType dtype) {
  const auto positions = test::all_positions(seq);
  return test::values(test::random_tensor(dtype, seed, test::Role::q, batch, positions, heads, head_dim).view());
}

class TensorFileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string folder = (fs::temp_directory_path() / "annulus_tensor_file.XXXXXX").string();
    on_rank_0([&] { ASSERT_NE(mkdtemp(folder.data()), nullptr); });
    comm_.broadcast(folder, 0);
    folder_ = folder;
    path_ = (folder_ / "file.h5").string();
  }
  void TearDown() override {
    comm_.barrier();
    if (comm_.rank() == 0) fs::remove_all(folder_);
  }

  /// Runs on rank 0 while the others wait.
  template <class Work>
  void on_rank_0(Work&& work) {
    if (comm_.rank() == 0) work();
    comm_.barrier();
  }
  TensorReader open(const std::vector<std::string>& names = {"q"}) const { return {comm_, path_, names}; }

  /// The message with which every rank must refuse the file.
  std::string refusal(const std::vector<std::string>& names = {"q"}) const {
    try {
      const TensorReader reader = open(names);
      ADD_FAILURE() << path_ << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::input) << error.what();
      return error.what();
    }
    return {};
  }

  Communicator comm_ = Communicator::duplicate(MPI_COMM_WORLD);
  fs::path folder_;
  std::string path_;
};

TEST_F(TensorFileTest, WhatIsWrittenInAnyLayoutIsTheWholeTensorInGlobalOrder) {
  for (const LayoutKind kind : {LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped}) {
    for (const DType dtype : {DType::f32, DType::f64, DType::f16, DType::bf16}) {
      const Layout layout(kind, seq, comm_.size());
      const auto pieces = layout.pieces(comm_.rank());
      const auto shard =
          test::random_tensor(dtype, seed, test::Role::q, batch, layout.positions(comm_.rank()), heads, head_dim);
      {
        TensorWriter writer(comm_, path_, {{"q", dtype, {batch, seq, heads, head_dim}}});
        const std::vector<TensorPart> parts{{"q", pieces, ConstTensorView(shard.view())}};
        writer.write(parts);
      }
      on_rank_0([&] {
        const auto found = test::read_plain(path_, "q");
        ASSERT_TRUE(found);
        EXPECT_EQ(found->type, word(dtype));
        EXPECT_EQ(found->values, whole_tensor(dtype)) << name(kind) << " " << name(dtype);
        EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1) << "a temporary file was left";
      });
    }
  }
}

TEST_F(TensorFileTest, RowStatisticsAndListsAreWritten) {
  const Layout layout(LayoutKind::zigzag, seq, comm_.size());
  const auto positions = layout.positions(comm_.rank());
  std::vector<float> stats;
  for (std::int64_t line = 0; line < batch * heads; ++line) {
    for (const std::int64_t pos : positions) stats.push_back(static_cast<float>(100 * line + pos));
  }
  const std::vector<float> list{1.5F, -2.5F, 3.5F};
  const auto pieces = layout.pieces(comm_.rank());
  TensorWriter writer(comm_, path_, {{"lse", DType::f32, {batch, heads, seq}}, {"list", DType::f32, {3}}});
  const ConstRowStats view = dense_stats<const float>(stats.data(), batch, heads, layout.rows(comm_.rank()));
  const std::vector<TensorPart> parts{{"lse", pieces, view}, {"list", {}, std::span<const float>(list)}};
  writer.write(parts);
  on_rank_0([&] {
    std::vector<double> wanted;
    for (std::int64_t line = 0; line < batch * heads; ++line) {
      for (std::int64_t pos = 0; pos < seq; ++pos) wanted.push_back(static_cast<double>(100 * line + pos));
    }
    EXPECT_EQ(test::read_plain(path_, "lse")->values, wanted);
    EXPECT_EQ(test::read_plain(path_, "list")->values, (std::vector<double>{1.5, -2.5, 3.5}));
  });
}

TEST_F(TensorFileTest, EveryStoredTypeAndOrderIsRead) {
  const std::vector<double> values = whole_tensor(DType::bf16);  // exact in every type but f16, whose range it fits
  for (const char* type : {"f32", "f64", "bf16", "f32be", "bf16be"}) {
    for (const test::Storage storage : {test::Storage::contiguous, test::Storage::chunked, test::Storage::deflated}) {
      on_rank_0([&] { test::write_plain(path_, {{"q", type, {batch, seq, heads, head_dim}, values}}, storage); });
      const TensorReader reader = open();
      for (const LayoutKind kind : {LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped}) {
        const Layout layout(kind, seq, comm_.size());
        const auto positions = layout.positions(comm_.rank());
        for (const DType wanted : {DType::f32, DType::bf16, DType::f64}) {
          const test::Tensor shard(wanted, batch, layout.rows(comm_.rank()), heads, head_dim);
          reader.read("q", layout.pieces(comm_.rank()), shard.view());
          EXPECT_EQ(test::values(shard.view()), test::select_rows(values, batch, seq, heads * head_dim, positions))
              << type << " as " << name(wanted) << ", " << name(kind);
        }
      }
      comm_.barrier();
    }
  }
}

TEST_F(TensorFileTest, ActivationsAreReadWithOneHead) {
  std::vector<double> values(static_cast<std::size_t>(batch * seq * 4));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i);
  on_rank_0([&] { test::write_plain(path_, {{"x", "f32", {batch, seq, 4}, values}}); });
  const TensorReader reader = open({"x"});
  const Layout layout(LayoutKind::zigzag, seq, comm_.size());
  const test::Tensor shard(DType::f32, batch, layout.rows(comm_.rank()), 1, 4);
  reader.read("x", layout.pieces(comm_.rank()), shard.view());
  EXPECT_EQ(test::values(shard.view()), test::select_rows(values, batch, seq, 4, layout.positions(comm_.rank())));
}

TEST_F(TensorFileTest, ShardsLargerThanTheStagingArriveWhole) {
  constexpr std::int64_t width = 256;
  const std::int64_t rows = staging_bytes / (width * 4) * 5 / 2;  // two and a half transfers on one rank
  const Layout layout(LayoutKind::zigzag, rows, comm_.size());
  const auto positions = layout.positions(comm_.rank());
  const auto value = [](std::int64_t pos, std::int64_t i) { return static_cast<float>((pos * 31 + i) % 65521); };
  const test::Tensor shard(DType::f32, 1, layout.rows(comm_.rank()), 1, width);
  const auto row_of = [&](std::size_t row) { return shard.view().at<float>(0, static_cast<std::int64_t>(row), 0); };
  for (std::size_t row = 0; row < positions.size(); ++row) {
    for (std::int64_t i = 0; i < width; ++i) row_of(row)[i] = value(positions[row], i);
  }
  const auto pieces = layout.pieces(comm_.rank());
  TensorWriter writer(comm_, path_, {{"x", DType::f32, {1, rows, width}}});
  const std::vector<TensorPart> parts{{"x", pieces, ConstTensorView(shard.view())}};
  writer.write(parts);
  const Layout other(LayoutKind::contiguous, rows, comm_.size());
  const test::Tensor back(DType::f32, 1, other.rows(comm_.rank()), 1, width);
  open({"x"}).read("x", other.pieces(comm_.rank()), back.view());
  std::int64_t wrong = 0;
  for (std::int64_t row = 0; row < back.view().rows; ++row) {
    for (std::int64_t i = 0; i < width; ++i) {
      wrong += back.view().at<float>(0, row, 0)[i] == value(other.position(comm_.rank(), row), i) ? 0 : 1;
    }
  }
  EXPECT_EQ(wrong, 0);
}

TEST_F(TensorFileTest, ListsAreReadOnEveryRank) {
  on_rank_0([&] {
    test::write_plain(
        path_,
        {{"small", "i32", {3}, {0, 5, 13}}, {"large", "i64", {2}, {-1, 4e15}}, {"slopes", "bf16", {2}, {0.5, 0.25}}});
  });
  const TensorReader reader = open({"small", "large", "slopes", "absent"});
  EXPECT_EQ(reader.read_integers("small"), (std::vector<std::int64_t>{0, 5, 13}));
  EXPECT_EQ(reader.read_integers("large"), (std::vector<std::int64_t>{-1, 4000000000000000}));
  EXPECT_EQ(reader.read_floats("slopes"), (std::vector<float>{0.5F, 0.25F}));
  EXPECT_EQ(reader.find("absent"), nullptr);
  EXPECT_THROW(reader.read_floats("small"), InputError);
  EXPECT_THROW(reader.read_integers("slopes"), InputError);
}

TEST_F(TensorFileTest, FilesThatAreNoHdf5FilesAreRefusedByAll) {
  EXPECT_NE(refusal().find("No such file"), std::string::npos);
  on_rank_0([&] { fs::create_directory(path_); });
  EXPECT_NE(refusal().find("directory"), std::string::npos);
  on_rank_0([&] {
    fs::remove(path_);
    ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  });
  EXPECT_NE(refusal().find("pipe"), std::string::npos);
  on_rank_0([&] {
    fs::remove(path_);
    fs::create_symlink(folder_ / "nowhere", path_);
  });
  EXPECT_NE(refusal().find("No such file"), std::string::npos);
  on_rank_0([&] {
    fs::remove(path_);
    std::ofstream(path_).close();
  });
  EXPECT_NE(refusal().find("empty"), std::string::npos);
  on_rank_0([&] { std::ofstream(path_) << std::string(5000, 'x'); });
  EXPECT_NE(refusal().find("signature"), std::string::npos);
}

TEST_F(TensorFileTest, TruncatedFilesAreRefusedByAll) {
  for (const std::int64_t kept_percent : {99, 50, 10, 1}) {
    on_rank_0([&] {
      test::write_plain(path_, {{"q", "f64", {batch, seq, heads, head_dim}, whole_tensor(DType::f64)}});
      const auto size = static_cast<std::int64_t>(fs::file_size(path_));
      fs::resize_file(path_, static_cast<std::uintmax_t>(kept_percent == 99 ? size - 1 : size * kept_percent / 100));
    });
    EXPECT_NE(refusal().find(path_), std::string::npos);
  }
}

TEST_F(TensorFileTest, DatasetsThatLeadOutOfTheFileAreRefusedByAll) {
  const PlainDataset q{"q", "f32", {1, 2, 1, 2}, {1, 2, 3, 4}};
  on_rank_0([&] {
    test::write_plain(path_, {q});
    test::add_soft_link(path_, "soft", "/q");
  });
  EXPECT_NE(refusal({"soft"}).find("link"), std::string::npos);
  on_rank_0([&] { test::add_external_link(path_, "outside", path_, "/q"); });
  EXPECT_NE(refusal({"outside"}).find("link"), std::string::npos);
  on_rank_0([&] { test::write_plain(path_, {q}, test::Storage::external); });
  EXPECT_NE(refusal().find("other files"), std::string::npos);
}

TEST_F(TensorFileTest, DatasetsThatClaimWhatIsNotThereAreRefusedByAll) {
  on_rank_0([&] { test::write_plain(path_, {{"q", "u8", {1, 1, 1, 1}, {1}}}); });
  EXPECT_NE(refusal().find("element type"), std::string::npos);
  on_rank_0([&] { test::write_plain(path_, {{"q", "f32", {1 << 20, 1 << 20, 1 << 10, 1 << 10}, {}}}); });
  EXPECT_FALSE(refusal().empty());
  on_rank_0([&] { test::write_plain(path_, {{"q", "f32", {1, 8, 1, 4}, {}}}); });
  EXPECT_NE(refusal().find("does not hold"), std::string::npos) << "never written";
}

TEST_F(TensorFileTest, AFolderThatCannotBeWrittenIsAResourceErrorOnAll) {
  const std::vector<TensorInfo> datasets{{"q", DType::f32, {1, 1, 1, 1}}};
  EXPECT_THROW(TensorWriter(comm_, (folder_ / "absent" / "file.h5").string(), datasets), ResourceError);
  EXPECT_THROW(TensorWriter(comm_, folder_.string(), datasets), ResourceError);
  EXPECT_THROW(TensorWriter(comm_, "/proc/file.h5", datasets), ResourceError);
}

TEST_F(TensorFileTest, AFullDiskIsAResourceErrorOnAllBeforeAnyWork) {
  struct rlimit before {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small { 1 << 20, before.rlim_max };
  on_rank_0([&] { ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0); });
  EXPECT_THROW(TensorWriter(comm_, path_, {{"q", DType::f32, {1, 1 << 20, 1, 1}}}), ResourceError);
  on_rank_0([&] {
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 0) << "a temporary file was left";
  });
  std::signal(SIGXFSZ, handler);
}

}  // namespace
}  // namespace annulus
