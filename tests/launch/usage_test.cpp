/// Every wrong command line ends in code 2, with one message, on every number of ranks, and touches nothing.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/launch/attend_files.hpp"
#include "tests/launch/program.hpp"

namespace annulus::test {
namespace {

struct Misuse {
  const char* name;
  std::vector<std::string> words;  ///< "IN" and "OUT" stand for files of the test
  const char* said;                ///< part of the message
};

std::vector<std::string> attend_with(std::vector<std::string> extra) {
  extra.insert(extra.begin(), {"attend", "IN", "OUT"});
  return extra;
}

const std::vector<Misuse> misuses{
    {"no_command", {}, "no command"},
    {"unknown_command", {"attendd"}, "unknown command 'attendd'"},
    {"no_files", {"attend"}, "IN.h5 is missing"},
    {"no_output", {"attend", "IN"}, "OUT.h5 is missing"},
    {"a_third_file", attend_with({"third"}), "unexpected argument 'third'"},
    {"unknown_option", attend_with({"--colour"}), "'--colour'"},
    {"short_option", attend_with({"-c"}), "'-c'"},
    {"abbreviation", attend_with({"--caus"}), "'--caus'"},
    {"duplicate", attend_with({"--threads", "1", "--threads", "2"}), "--threads is given twice"},
    {"duplicate_flag", attend_with({"--causal", "--causal"}), "--causal is given twice"},
    {"missing_value", attend_with({"--threads"}), "'--threads' is missing"},
    {"empty_value", attend_with({"--backend="}), "--backend"},
    {"zero", attend_with({"--threads", "0"}), "--threads '0'"},
    {"negative", attend_with({"--threads", "-2"}), "--threads '-2'"},
    {"junk_behind", attend_with({"--threads", "2x"}), "--threads '2x'"},
    {"unit_behind", attend_with({"--threads", "8GiB"}), "--threads '8GiB'"},
    {"overflow", attend_with({"--threads", "99999999999999999999"}), "--threads"},
    {"overflow_by_suffix", attend_with({"--threads", "9007199254740993G"}), "--threads"},
    {"a_real_for_a_count", attend_with({"--threads", "1e3"}), "--threads '1e3'"},
    {"nan", attend_with({"--softmax-scale", "nan"}), "--softmax-scale 'nan'"},
    {"infinite", attend_with({"--softmax-scale", "inf"}), "--softmax-scale 'inf'"},
    {"huge", attend_with({"--softmax-scale", "1e30"}), "--softmax-scale '1e30'"},
    {"tiny", attend_with({"--softmax-scale", "1e-320"}), "--softmax-scale '1e-320'"},
    {"tiny_softcap", attend_with({"--softcap", "1e-300"}), "--softcap is too small"},
    {"negative_scale", attend_with({"--softmax-scale", "-1"}), "--softmax-scale '-1'"},
    {"report_over_input", attend_with({"--report", "IN"}), "IN and --report are the same file"},
    {"report_over_output", attend_with({"--report", "OUT"}), "OUT and --report are the same file"},
    {"beyond_double", attend_with({"--softcap", "1e999"}), "--softcap '1e999'"},
    {"negative_softcap", attend_with({"--softcap", "-1"}), "--softcap '-1'"},
    {"a_word_for_a_number", attend_with({"--softcap", "--causal"}), "--softcap"},
    {"a_value_for_a_flag", attend_with({"--causal=yes"}), "--causal"},
    {"unknown_dtype", attend_with({"--dtype", "f8"}), "--dtype 'f8'"},
    {"unknown_layout", attend_with({"--layout", "ring"}), "--layout 'ring'"},
    {"unknown_exchange", attend_with({"--exchange", "pigeon"}), "--exchange 'pigeon'"},
    {"device_exchange", attend_with({"--exchange", "device"}), "--exchange device needs a backend that computes on a device"},
    {"unknown_backend", attend_with({"--backend", "abacus"}), "abacus"},
    {"absent_backend", attend_with({"--backend", "cuda"}), "cuda"},
    {"f64_on_simd", attend_with({"--backend", "simd", "--dtype", "f64"}), "f64"},
    {"window_of_one_side", attend_with({"--window-size", "4"}), "--window-size '4'"},
    {"window_of_three", attend_with({"--window-size", "4,0,1"}), "--window-size '0,1'"},
    {"negative_window", attend_with({"--window-size", "-2,0"}), "--window-size '-2'"},
    {"window_beyond_the_type", attend_with({"--window-size", "9999999999G,0"}), "--window-size"},
    {"two_windows", attend_with({"--window-size", "3,0", "--sliding-window", "4"}), "try one of them"},
    {"two_windows_turned", attend_with({"--sliding-window", "4", "--window-size", "-1,-1"}), "try one of them"},
    {"empty_sliding_window", attend_with({"--sliding-window", "0"}), "--sliding-window '0'"},
    {"sliding_without_causal",
     {"run", "--input", "IN", "--no-causal", "--sliding-window", "4"},
     "--sliding-window with --no-causal"},
    {"empty_chunks", attend_with({"--chunk-size=0"}), "--chunk-size '0'"},
    {"negative_sinks", attend_with({"--sliding-window", "4", "--sink-tokens", "-1"}), "--sink-tokens '-1'"},
    {"sinks_alone", attend_with({"--causal", "--sink-tokens", "4"}), "without a window or chunk"},
    {"globals_and_an_open_window",
     attend_with({"--window-size", "-1,-1", "--global-tokens", "4"}),
     "without a window or chunk"},
    {"stride_alone", {"run", "--input", "IN", "--stride", "4"}, "without a window or chunk"},
    {"stride_without_a_value", attend_with({"--stride"}), "'--stride' is missing"},
    {"one_file_twice", {"attend", "IN", "IN"}, "same file"},
    {"info_with_an_option", {"info", "--causal"}, "'--causal'"},
};

class Usage : public testing::TestWithParam<Misuse> {
 protected:
  /// The case's words with real paths.
  std::vector<std::string> words() const {
    std::vector<std::string> words = GetParam().words;
    for (std::string& word : words) {
      if (word == "IN") word = folder_ / "in.h5";
      if (word == "OUT") word = folder_ / "out.h5";
    }
    return words;
  }
  Folder folder_;
};

TEST_P(Usage, IsRefusedOnceOnOneRankAndOnThree) {
  write_attend_input(folder_ / "in.h5", {});
  for (const int np : {plainly, 3}) {
    const Outcome outcome = run_program(np, words());
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    ASSERT_EQ(outcome.messages().size(), 1U) << outcome.err;
    EXPECT_NE(outcome.messages()[0].find(GetParam().said), std::string::npos) << outcome.messages()[0];
    EXPECT_EQ(outcome.out, "");
  }
  EXPECT_EQ(folder_.names(), std::set<std::string>{"in.h5"});
}

INSTANTIATE_TEST_SUITE_P(Options, Usage, testing::ValuesIn(misuses),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(Help, NeedsNoMpiAndIsPrintedOnce) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"--help"}, {"attend", "--help"}, {"info", "--help"}, {"attend", "a", "b", "--help"}}) {
    const Outcome plain = run_program(plainly, words);
    const Outcome launched = run_program(3, words);
    EXPECT_EQ(plain.code, 0);
    EXPECT_TRUE(plain.out.starts_with("Usage: annulus")) << plain.out;
    EXPECT_EQ(launched.code, 0);
    EXPECT_EQ(launched.out, plain.out);
  }
}

TEST(Version, IsPrintedOnce) {
  EXPECT_TRUE(run_program(plainly, {"--version"}).out.starts_with("annulus "));
  EXPECT_EQ(run_program(3, {"--version"}).out, run_program(plainly, {"--version"}).out);
}

TEST(Info, NamesBackendsAndRanks) {
  const Outcome outcome = run_program(3, {"info"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  for (const char* word : {"reference", "portable", "cuda", "MPI", "HDF5", "BLAS", "ranks", "CUDA-aware MPI", "GPU"}) {
    EXPECT_NE(outcome.out.find(word), std::string::npos) << word;
  }
}

TEST(Info, SaysWhenBlasDoesNotKnowTheCpu) {
  const auto info_with = [](const char* core) {
    EXPECT_EQ(setenv("OPENBLAS_CORETYPE", core, 1), 0);
    return run_program(plainly, {"info"}).out;
  };
  const std::string old = info_with("Prescott");
  if (old.find("kernels for Prescott") == std::string::npos) GTEST_SKIP() << "no OpenBLAS that chooses its kernels";
  const bool has_avx2 = old.find("avx2         yes") != std::string::npos;
  EXPECT_EQ(old.find("it does not know this CPU") != std::string::npos, has_avx2) << old;
  if (has_avx2) {
    EXPECT_EQ(info_with("Haswell").find("it does not know this CPU"), std::string::npos);
  }
}

}  // namespace
}  // namespace annulus::test
