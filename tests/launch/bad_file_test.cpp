/// Every file that makes no attention ends in its stated code, with one message, on every number of ranks, in seconds,
/// and leaves nothing behind.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>

#include "tests/launch/attend_files.hpp"
#include "tests/launch/program.hpp"

namespace annulus::test {
namespace {

namespace fs = std::filesystem;
using Datasets = std::vector<PlainDataset>;

PlainDataset& find(Datasets& datasets, const std::string& name) {
  for (PlainDataset& dataset : datasets) {
    if (dataset.name == name) return dataset;
  }
  throw std::runtime_error("no dataset " + name);
}

void resize(PlainDataset& dataset, std::vector<std::int64_t> dims) {
  std::size_t count = 1;
  for (const std::int64_t dim : dims) count *= static_cast<std::size_t>(dim);
  dataset.dims = std::move(dims);
  dataset.values.resize(count, 0.5);
}

/// Makes the input file at a path from sound datasets.
using Maker = std::function<void(const std::string& path, Datasets datasets)>;

/// A sound file but for one change.
Maker spoil(std::function<void(Datasets&)> change) {
  return [change](const std::string& path, Datasets datasets) {
    change(datasets);
    write_plain(path, datasets);
  };
}
Maker without(const std::string& name) {
  return spoil([name](Datasets& d) { std::erase_if(d, [&](const PlainDataset& x) { return x.name == name; }); });
}
Maker with_dims(const std::string& name, std::vector<std::int64_t> dims) {
  return spoil([=](Datasets& d) { resize(find(d, name), dims); });
}
Maker with_list(const std::string& name, const std::string& type, std::vector<double> values) {
  return spoil([=](Datasets& d) { d.push_back({name, type, {static_cast<std::int64_t>(values.size())}, values}); });
}
/// A sound file whose bytes are then changed.
Maker damage(std::function<void(const std::string& path)> change) {
  return [change](const std::string& path, const Datasets& datasets) {
    write_plain(path, datasets);
    change(path);
  };
}
/// Anything but a sound file.
Maker instead(std::function<void(const std::string& path)> make) {
  return [make](const std::string& path, const Datasets&) { make(path); };
}
void shorten(const std::string& path, std::uintmax_t size) { fs::resize_file(path, size); }

struct BadFile {
  const char* name;
  Maker make;
  const char* said;                ///< part of the message
  std::vector<std::string> extra;  ///< options behind IN and OUT
  int code = 3;
};

const std::vector<BadFile> bad_files{
    {"missing", instead([](const std::string&) {}), "No such file", {}},
    {"directory", instead([](const std::string& path) { fs::create_directory(path); }), "directory", {}},
    {"pipe", instead([](const std::string& path) { mkfifo(path.c_str(), 0600); }), "pipe", {}},
    {"dangling_link",
     instead([](const std::string& path) { fs::create_symlink("nowhere", path); }),
     "No such file",
     {}},
    {"empty", instead([](const std::string& path) { std::ofstream(path).close(); }), "empty", {}},
    {"text", instead([](const std::string& path) { std::ofstream(path) << std::string(9999, 'x'); }), "HDF5", {}},
    {"one_byte_short", damage([](const std::string& path) { shorten(path, fs::file_size(path) - 1); }), "in.h5", {}},
    {"half", damage([](const std::string& path) { shorten(path, fs::file_size(path) / 2); }), "in.h5", {}},
    {"cut_to_nothing", damage([](const std::string& path) { shorten(path, 0); }), "empty", {}},
    {"no_q", without("q"), "/q", {}},
    {"no_k", without("k"), "/k", {}},
    {"no_v", without("v"), "/v", {}},
    {"no_dout", without("dout"), "/dout", {"--backward"}},
    {"q_of_three_dimensions", with_dims("q", {2, 11, 32}), "/q has 3 dimensions", {}},
    {"k_of_five_dimensions", with_dims("k", {2, 11, 2, 8, 1}), "/k has 5 dimensions", {}},
    {"other_batch", with_dims("k", {1, 11, 2, 8}), "/k has shape", {}},
    {"other_head_dim", with_dims("k", {2, 11, 2, 4}), "/k has shape", {}},
    {"v_unlike_k", with_dims("v", {2, 12, 2, 8}), "/v has shape", {}},
    {"dout_unlike_q", with_dims("dout", {2, 10, 4, 8}), "/dout has shape", {"--backward"}},
    {"heads_not_divisible",
     spoil([](Datasets& d) {
       resize(find(d, "k"), {2, 11, 3, 8});
       resize(find(d, "v"), {2, 11, 3, 8});
     }),
     "4 heads cannot share 3 kv_heads",
     {}},
    {"head_dim_too_large",
     spoil([](Datasets& d) {
       for (PlainDataset& dataset : d) resize(dataset, {2, 11, dataset.dims[2], 257});
     }),
     "257",
     {}},
    {"no_heads",
     spoil([](Datasets& d) {
       for (PlainDataset& dataset : d) resize(dataset, {2, 11, 0, 8});
     }),
     "heads",
     {}},
    {"integers", spoil([](Datasets& d) { find(d, "q").type = "i32"; }), "/q holds integers", {}},
    {"bytes", spoil([](Datasets& d) { find(d, "v").type = "u8"; }), "unknown element type", {}},
    {"mixed_types", spoil([](Datasets& d) { find(d, "k").type = "bf16"; }), "one type is wanted", {}},
    {"f64_without_a_word",
     spoil([](Datasets& d) {
       for (PlainDataset& dataset : d) dataset.type = "f64";
     }),
     "f64",
     {},
     2},
    {"documents_that_go_back", with_list("cu_seqlens", "i64", {0, 7, 5, 11}), "cu_seqlens", {}},
    {"documents_that_start_late", with_list("cu_seqlens", "i32", {1, 11}), "cu_seqlens", {}},
    {"documents_that_end_early", with_list("cu_seqlens", "i32", {0, 10}), "cu_seqlens", {}},
    {"no_documents", with_list("cu_seqlens", "i32", {}), "cu_seqlens is empty", {}},
    {"documents_as_reals", with_list("cu_seqlens", "f32", {0, 11}), "cu_seqlens", {}},
    {"too_few_slopes", with_list("alibi_slopes", "f32", {1, 1}), "/alibi_slopes has shape [2]", {}},
    {"slopes_as_integers", with_list("alibi_slopes", "i32", {1, 1, 1, 1}), "/alibi_slopes", {}},
    {"sink_not_a_number", with_list("sink", "f32", {0, 0, 0, std::nan("")}), "/sink holds a value", {}},
    {"soft_link",
     [](const std::string& path, Datasets datasets) {
       std::erase_if(datasets, [](const PlainDataset& x) { return x.name == "q"; });
       write_plain(path, datasets);
       add_soft_link(path, "q", "/k");
     },
     "link",
     {}},
    {"a_dataset_elsewhere",
     [](const std::string& path, Datasets datasets) {
       std::erase_if(datasets, [](const PlainDataset& x) { return x.name == "q"; });
       write_plain(path, datasets);
       add_external_link(path, "q", path, "/k");
     },
     "link",
     {}},
    {"data_elsewhere",
     [](const std::string& path, const Datasets& datasets) { write_plain(path, datasets, Storage::external); },
     "other files",
     {}},
    {"more_than_the_file_holds",
     spoil([](Datasets& d) {
       for (PlainDataset& dataset : d) dataset = {dataset.name, "f32", {1, 1 << 30, 4, 64}, {}};
     }),
     "does not hold",
     {}},
};

class BadInput : public testing::TestWithParam<BadFile> {};

TEST_P(BadInput, IsRefusedOnceOnOneRankAndOnThree) {
  const BadFile& bad = GetParam();
  const Folder folder;
  bad.make(folder / "in.h5", attend_datasets({}));
  const std::set<std::string> before = folder.names();
  std::vector<std::string> words{"attend", folder / "in.h5", folder / "out.h5"};
  words.insert(words.end(), bad.extra.begin(), bad.extra.end());
  for (const int np : {plainly, 3}) {
    const Outcome outcome = run_program(np, words);
    EXPECT_EQ(outcome.code, bad.code) << outcome.err;
    ASSERT_EQ(outcome.messages().size(), 1U) << outcome.err;
    EXPECT_NE(outcome.messages()[0].find(bad.said), std::string::npos) << outcome.messages()[0];
    EXPECT_EQ(folder.names(), before) << "something was written";
  }
}

INSTANTIATE_TEST_SUITE_P(Files, BadInput, testing::ValuesIn(bad_files),
                         [](const auto& tested) { return std::string(tested.param.name); });

/// The outcome of a sound input with this output, on three ranks.
Outcome attend_to(const Folder& folder, const std::string& output, const std::vector<std::string>& extra = {}) {
  write_attend_input(folder / "in.h5", {});
  std::vector<std::string> words{"attend", folder / "in.h5", output};
  words.insert(words.end(), extra.begin(), extra.end());
  return run_program(3, words);
}

void expect_refusal(const Outcome& outcome, int code, const std::string& said) {
  EXPECT_EQ(outcome.code, code) << outcome.err;
  ASSERT_EQ(outcome.messages().size(), 1U) << outcome.err;
  EXPECT_NE(outcome.messages()[0].find(said), std::string::npos) << outcome.messages()[0];
}

TEST(Output, ThatCannotBeWrittenIsRefusedBeforeAnyWork) {
  const Folder folder;
  expect_refusal(attend_to(folder, folder / "absent/out.h5"), 4, "absent/out.h5");
  expect_refusal(attend_to(folder, "/proc/out.h5"), 4, "/proc/out.h5");
  fs::create_directory(folder / "out.h5");
  expect_refusal(attend_to(folder, folder / "out.h5"), 4, "no regular file");
  EXPECT_EQ(folder.names(), (std::set<std::string>{"in.h5", "out.h5"}));
}

TEST(Output, ThatIsTheInputIsRefusedAlsoThroughLinks) {
  const Folder folder;
  write_attend_input(folder / "in.h5", {});
  fs::create_symlink(folder / "in.h5", folder / "soft.h5");
  fs::create_hard_link(folder / "in.h5", folder / "hard.h5");
  expect_refusal(attend_to(folder, folder / "in.h5"), 2, "same file");
  expect_refusal(attend_to(folder, folder / "soft.h5"), 2, "same file");
  expect_refusal(attend_to(folder, folder / "hard.h5"), 2, "same file");
  EXPECT_TRUE(read_plain(folder / "in.h5", "q"));
}

TEST(Output, SurvivesARefusal) {
  const Folder folder;
  write_plain(folder / "out.h5", {{"old", "f32", {1}, {42}}});
  expect_refusal(attend_to(folder, folder / "out.h5", {"--report", folder / "absent/report.json"}), 4, "report.json");
  EXPECT_EQ(read_plain(folder / "out.h5", "old")->values, std::vector<double>{42});
}

TEST(Memory, ThatIsNotThereIsRefusedWithTheBytesPerRank) {
  const Folder folder;
  // Chunked and never written: a small file that truly declares this much.
  Datasets datasets;
  for (const char* name : {"q", "k", "v"}) datasets.push_back({name, "f32", {1, std::int64_t{1} << 30, 8, 128}, {}});
  write_plain(folder / "in.h5", datasets, Storage::chunked);
  for (const int np : {plainly, 3}) {
    const Outcome outcome = run_program(np, {"attend", folder / "in.h5", folder / "out.h5"});
    expect_refusal(outcome, 4, "bytes per rank");
  }
  EXPECT_EQ(folder.names(), std::set<std::string>{"in.h5"});
}

TEST(Permission, ToReadIsNeeded) {
  if (geteuid() == 0) GTEST_SKIP() << "root reads everything";
  const Folder folder;
  write_attend_input(folder / "in.h5", {});
  fs::permissions(folder / "in.h5", fs::perms::none);
  expect_refusal(run_program(3, {"attend", folder / "in.h5", folder / "out.h5"}), 3, "Permission denied");
}

}  // namespace
}  // namespace annulus::test
