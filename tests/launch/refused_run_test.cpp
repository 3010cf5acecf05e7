/// What `annulus run` refuses: one message, one code, nothing left behind.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <set>

#include "tests/launch/program.hpp"
#include "tests/launch/run_words.hpp"
#include "tests/runtime/checkpoint/plain_hdf5.hpp"

namespace annulus::test {
namespace {

struct BadRun {
  const char* name;
  std::vector<std::string> words;  ///< "TEXT" is a file of 64 bytes, "EMPTY" of none, "FOLDER" theirs, "H5" activations
  int code;
  const char* said;
};

const std::vector<BadRun> bad_runs{
    {"no_input", {"run"}, 2, "--input"},
    {"missing_file", {"run", "--input", "/no/such/file"}, 3, "/no/such/file"},
    {"empty_file", {"run", "--input", "EMPTY"}, 3, "empty"},
    {"a_folder", {"run", "--input", "FOLDER"}, 3, "not a regular file"},
    {"beyond_the_file",
     {"run", "--input", "TEXT", "--seq-len", "65"},
     3,
     "--seq-len 65 goes beyond TEXT, which has 64 tokens"},
    {"not_hdf5", {"run", "--input", "TEXT:/x"}, 3, "TEXT"},
    {"beyond_63_bits", {"run", "--dry-run", "--seq-len", "9000000000G"}, 2, "--seq-len"},
    {"no_product", {"run", "--dry-run", "--seq-len", "4000000000G"}, 4, "63 bits"},
    {"zero_layers", {"run", "--input", "TEXT", "--layers", "0"}, 2, "--layers"},
    {"heads_that_do_not_divide",
     {"run", "--input", "TEXT", "--heads", "4", "--kv-heads", "3"},
     2,
     "4 heads cannot share 3"},
    {"local_layers", {"run", "--input", "TEXT", "--pattern", "LG"}, 2, "without a window or chunk"},
    {"windows_that_look_ahead", {"run", "--input", "TEXT", "--pattern", "L8G", "--no-causal"}, 2, "look back only"},
    {"an_open_window",
     {"run", "--input", "TEXT", "--model", "tiny-mistral", "--window-size=-1,-1"},
     2,
     "try --pattern G"},
    {"documents_of_no_dataset", {"run", "--input", "TEXT", "--cu-seqlens", "TEXT"}, 2, "names no dataset"},
    {"documents_that_are_missing", {"run", "--input", "TEXT", "--cu-seqlens", "H5:/none"}, 3, "does not exist"},
    {"documents_of_floats", {"run", "--input", "TEXT", "--cu-seqlens", "H5:/x"}, 3, "/x"},
    {"documents_that_end_early",
     {"run", "--input", "TEXT", "--cu-seqlens", "H5:/short"},
     3,
     "ends with 60, but the input has 64 tokens"},
    {"documents_that_run_backwards", {"run", "--input", "TEXT", "--cu-seqlens", "H5:/back"}, 3, "bounds no documents"},
    {"unknown_layers", {"run", "--input", "TEXT", "--pattern", "X"}, 2, "--pattern"},
    {"unknown_model", {"run", "--input", "TEXT", "--model", "?"}, 2, "mistral-7b, gemma2-9b"},
    {"heads_that_do_not_fit_the_model",
     {"run", "--input", "TEXT", "--model", "tiny-gpt-oss", "--kv-heads", "3"},
     2,
     "8 heads cannot share 3"},
    {"yarn_without_context",
     {"run", "--input", "TEXT", "--rope-scaling", "yarn", "--rope-factor", "2"},
     2,
     "--rope-original"},
    {"checkpoint_in_a_file", {"run", "--input", "TEXT", "--checkpoint", "EMPTY"}, 4, "EMPTY"},
    {"resume_from_nothing", {"run", "--resume", "FOLDER"}, 3, "no complete generation"},
    {"resume_from_a_file", {"run", "--resume", "EMPTY"}, 3, "EMPTY"},
    {"trace_over_input", {"run", "--input", "TEXT", "--trace", "TEXT"}, 2, "--input and --trace are the same file"},
    {"trace_folder", {"run", "--input", "TEXT", "--trace", "/no/such/folder/t.json"}, 4, "/no/such/folder"},
    {"dry_trace", {"run", "--input", "TEXT", "--dry-run", "--trace", "t.json"}, 2, "--dry-run does no work"},
    {"no_local_layers", {"run", "--input", "TEXT", "--local-halo", "resident"}, 2, "--local-halo resident"},
    {"striped_halo",
     {"run", "--input", "TEXT", "--sliding-window", "4", "--local-halo", "resident", "--layout", "striped"},
     2,
     "striped"},
    {"strided_halo",
     {"run", "--input", "TEXT", "--sliding-window", "4", "--stride", "4", "--local-halo", "resident"},
     2,
     "stride"},
    {"global_halo",
     {"run", "--input", "TEXT", "--sliding-window", "4", "--global-tokens", "1", "--local-halo", "resident"},
     2,
     "global tokens"},
    {"many_layers", {"run", "--input", "TEXT", "--layers", "1000G"}, 2, "layers"},
    {"negative_scale", {"run", "--input", "TEXT", "--softmax-scale", "-1"}, 2, "--softmax-scale"},
    {"output_over_input", {"run", "--input", "TEXT", "--output", "TEXT"}, 2, "--input and --output are the same file"},
    {"report_over_input", {"run", "--input", "TEXT", "--report", "TEXT"}, 2, "--input and --report are the same file"},
    {"report_over_output",
     {"run", "--input", "TEXT", "--output", "new", "--report", "./new"},
     2,
     "--output and --report"},
    {"two_windows", {"run", "--input", "TEXT", "--window-size", "4,0", "--sliding-window", "5"}, 2, "try one of them"},
    {"sinks_alone", {"run", "--input", "TEXT", "--sink-tokens", "4"}, 2, "without a window or chunk"},
    {"f64", {"run", "--input", "TEXT", "--dtype", "f64"}, 2, "--dtype f64 is not for run"},
    {"f64_by_reference",
     {"run", "--input", "TEXT", "--dtype", "f64", "--backend", "reference"},
     2,
     "--dtype f64 is not for run"},
    {"dry_output", {"run", "--input", "TEXT", "--dry-run", "--output", "OUT"}, 2, "--dry-run does no work"},
    {"too_wide_by_far", {"run", "--input", "TEXT", "--heads", "1000000G"}, 4, "63 bits"},
    {"too_wide", {"run", "--input", "TEXT", "--heads", "64M"}, 2, "too wide"},
    {"missing_h5", {"run", "--input", "nowhere.h5:/x"}, 3, "nowhere.h5"},
    {"missing_dataset", {"run", "--input", "H5:/y"}, 3, "no dataset /y"},
    {"misshaped_dataset", {"run", "--input", "H5:/flat"}, 3, "[batch, seq, width]"},
    {"stored_f64", {"run", "--input", "H5:/wide"}, 3, "holds f64"},
    {"another_width",
     {"run", "--input", "H5:/x", "--heads", "3", "--head-dim", "4"},
     3,
     "has width 32 but 3 heads of 4 make 12"},
    {"beyond_the_dataset",
     {"run", "--input", "H5:/x", "--seq-len", "6", "--heads", "2", "--head-dim", "16"},
     3,
     "which has 5 tokens"},
    {"not_a_number",
     {"run", "--input", "H5:/nan", "--heads", "2", "--head-dim", "16", "--verify", "1", "--output", "OUT", "--report",
      "REPORT"},
     6,
     "layer 0: q of row"},
    {"output_folder", {"run", "--input", "TEXT", "--output", "/no/such/folder/x.h5"}, 4, "/no/such/folder"},
    {"report_folder", {"run", "--input", "TEXT", "--report", "/no/such/folder/r.json"}, 4, "/no/such/folder"},
};

void write_activations(const std::string& path) {
  std::vector<double> ones(160, 1);
  std::vector<double> spoilt = ones;
  spoilt[3] = std::nan("");
  write_plain(path, {{"x", "f32", {1, 5, 32}, ones},
                     {"wide", "f64", {1, 5, 32}, ones},
                     {"flat", "f32", {5, 32}, ones},
                     {"nan", "f32", {1, 5, 32}, spoilt},
                     {"short", "i32", {3}, {0, 20, 60}},
                     {"back", "i32", {4}, {0, 40, 20, 64}}});
}

class BadRunTest : public testing::TestWithParam<BadRun> {
 protected:
  BadRunTest() {
    write_text(folder_, "TEXT", 64);
    write_text(folder_, "EMPTY", 0);
    write_activations(folder_ / "x.h5");
  }
  /// A word or a message with real paths.
  std::string with_paths(std::string text) const {
    const std::vector<std::pair<std::string, std::string>> names{
        {"TEXT", "TEXT"}, {"EMPTY", "EMPTY"}, {"FOLDER", ""}, {"H5", "x.h5"}, {"OUT", "out.h5"}, {"REPORT", "r.json"}};
    for (const auto& [word, name] : names) {
      const std::size_t at = text.find(word);
      if (at != std::string::npos) return text.replace(at, word.size(), folder_ / name);
    }
    return text;
  }
  Folder folder_;
};

TEST_P(BadRunTest, EndsWithOneMessageAndItsCodeAndLeavesNothing) {
  std::vector<std::string> words;
  for (const std::string& word : GetParam().words) words.push_back(with_paths(word));
  const std::set<std::string> before = folder_.names();
  for (const int np : {plainly, 3}) {
    const Outcome outcome = run_program(np, words);
    EXPECT_EQ(outcome.code, GetParam().code) << outcome.err;
    ASSERT_EQ(outcome.messages().size(), 1U) << outcome.err;
    EXPECT_NE(outcome.messages()[0].find(with_paths(GetParam().said)), std::string::npos) << outcome.messages()[0];
    EXPECT_EQ(folder_.names(), before);
  }
}

INSTANTIATE_TEST_SUITE_P(All, BadRunTest, testing::ValuesIn(bad_runs),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(BadRun, SaysTheBytesPerRankBeforeItAllocates) {
  const Folder folder;
  const std::string path = folder / "sparse";
  std::ofstream(path).put('x');
  std::filesystem::resize_file(path, std::uintmax_t{1} << 40);  // a file without blocks
  for (const int np : {plainly, 3}) {
    const Outcome outcome = run_program(np, run_words(path, {}));
    EXPECT_EQ(outcome.code, 4) << outcome.err;
    ASSERT_EQ(outcome.messages().size(), 1U) << outcome.err;
    EXPECT_NE(outcome.messages()[0].find("bytes per rank"), std::string::npos) << outcome.messages()[0];
  }
}

}  // namespace
}  // namespace annulus::test
