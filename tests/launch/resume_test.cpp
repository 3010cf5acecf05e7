/// A run that is saved, stopped and resumed gives what the uninterrupted one gives.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/launch/program.hpp"
#include "tests/runtime/checkpoint/plain_hdf5.hpp"

namespace annulus::test {
namespace {

using Json = nlohmann::json;

class Resume : public testing::Test {
 protected:
  Resume() {
    std::ofstream file(folder_ / "text", std::ios::binary);
    for (std::size_t i = 0; i < 900; ++i) file.put(static_cast<char>('a' + i * i % 23));
  }

  /// Five layers, two of three local, with a resident halo in the middle of which every save falls.
  std::vector<std::string> words(std::vector<std::string> extra) const {
    std::vector<std::string> all{"run",        "--input", folder_ / "text", "--heads",   "2",  "--head-dim", "16",
                                 "--layers",   "5",       "--pattern",      "LLG",       "--sliding-window", "20",
                                 "--local-halo", "resident", "--threads",   "1",         "--report",   folder_ / "report"};
    all.insert(all.end(), extra.begin(), extra.end());
    return all;
  }
  std::vector<std::string> resume_words(std::vector<std::string> extra) const {
    std::vector<std::string> all{"run", "--resume", saved(), "--local-halo", "resident", "--threads", "1", "--report",
                                 folder_ / "report"};
    all.insert(all.end(), extra.begin(), extra.end());
    return all;
  }
  std::string saved() const { return folder_ / "saved"; }
  std::string step(int layers) const { return saved() + "/step-00000" + std::to_string(layers); }
  Json report() const {
    std::ifstream file(folder_ / "report");
    return Json::parse(file);
  }
  /// The digest of a run that must end well.
  std::string digest(int np, const std::vector<std::string>& arguments) const {
    const Outcome outcome = run_program(np, arguments);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.code == 0 ? report()["digest"].get<std::string>() : "";
  }

  /// A sound checkpoint whose plan has these arguments.
  static void save_plan(const std::string& folder, const std::vector<std::string>& arguments) {
    const Json plan{{"command", "run"}, {"arguments", arguments}, {"batch", 1}, {"model", nullptr}};
    const Outcome outcome = run_ranks({{.program = ANNULUS_TEST_SAVER, .words = {"plan", folder, plan.dump()}}});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
  }

  Folder folder_;
};

TEST_F(Resume, GivesTheSameBitsOnAsManyRanks) {
  const std::string whole = digest(3, words({}));
  EXPECT_EQ(digest(3, words({"--checkpoint", saved(), "--checkpoint-every", "1", "--keep", "9", "--checkpoint-tensors",
                             "q,k,v,out,lse"})),
            whole)
      << "saving changes nothing";
  EXPECT_EQ(report()["checkpoints"].size(), 5U);
  for (const int layers : {5, 4, 3, 2, 1}) {  // what is newest now
    EXPECT_EQ(digest(3, resume_words({})), whole) << "from layer " << layers;
    EXPECT_EQ(report()["resumed_from"], step(layers));
    EXPECT_EQ(report()["layers"].size(), 5U - static_cast<std::size_t>(layers));
    std::filesystem::remove_all(step(layers));
  }
  EXPECT_EQ(run_program(3, resume_words({})).code, 3) << "nothing is left";
}

/// A rank computes the halo that it keeps itself, in tiles with other edges than the owner's.
TEST_F(Resume, GivesTheSameBitsInTheMiddleOfALongRunOfLocalLayers) {
  const std::vector<std::vector<std::string>> shapes{
      {"--pattern", "L", "--sliding-window", "9", "--heads", "4", "--kv-heads", "1", "--head-dim", "10", "--layout", "zigzag"},
      {"--pattern", "L", "--chunk-size", "13", "--seq-len", "97", "--layout", "contiguous"},
      {"--pattern", "LLLG", "--sliding-window", "70", "--sink-tokens", "2", "--head-dim", "8", "--layout", "zigzag"},
      {"--pattern", "L9L70L3G", "--sink-tokens", "2", "--head-dim", "8", "--layout", "zigzag"}};
  for (const std::vector<std::string>& shape : shapes) {
    std::vector<std::string> run{"run", "--input", folder_ / "text", "--layers", "5", "--threads", "1", "--local-halo", "resident",
                                 "--checkpoint", saved(), "--keep", "9", "--report", folder_ / "report"};
    run.insert(run.end(), shape.begin(), shape.end());
    const std::string whole = digest(3, run);
    for (const int layers : {5, 4, 3, 2}) std::filesystem::remove_all(step(layers));
    const std::string layout = shape.back();
    EXPECT_EQ(digest(3, resume_words({"--layout", layout})), whole) << shape[1];
    EXPECT_EQ(run_program(2, resume_words({"--verify", "9"})).code, 0) << "other ranks take the owners' rows";
    std::filesystem::remove_all(saved());
  }
}

TEST_F(Resume, TrustsACheckpointWithNothingButTheRun) {
  ASSERT_EQ(run_program(plainly, words({"--checkpoint", saved()})).code, 0);
  EXPECT_EQ(run_program(plainly, words({"--checkpoint", saved()})).code, 2) << "a new run would prune these saves";
  const Outcome other = run_program(plainly, words({"--checkpoint", saved(), "--seed", "3"}));
  EXPECT_EQ(other.code, 2);
  EXPECT_NE(other.err.find("holds saves already"), std::string::npos) << other.err;
  const std::string victim = folder_ / "victim";
  std::ofstream(victim) << "precious";
  const std::vector<std::string> clashes{"--output=" + victim, "--report=" + victim, "--nonsense=1", "--layers=0", "--dtype=f64"};
  for (const std::string& word : clashes) {
    const std::string evil = folder_ / "evil";
    save_plan(evil, {"--input=" + folder_ / "text", "--heads=2", "--head-dim=16", "--seq-len=900", word});
    const Outcome outcome = run_program(plainly, {"run", "--resume", evil});
    EXPECT_EQ(outcome.code, 3) << word << ": " << outcome.err;
    EXPECT_NE(outcome.err.find(evil), std::string::npos) << outcome.err;
    std::filesystem::remove_all(evil);
  }
  std::string kept;
  std::ifstream(victim) >> kept;
  EXPECT_EQ(kept, "precious");
}

TEST_F(Resume, DoesNotGoOnWithoutItsGradients) {
  ASSERT_EQ(run_program(2, words({"--backward", "--checkpoint", saved()})).code, 0);
  const Outcome outcome = run_program(2, resume_words({}));
  EXPECT_EQ(outcome.code, 3);
  EXPECT_NE(outcome.err.find("gradients"), std::string::npos) << outcome.err;
  EXPECT_EQ(run_program(2, words({"--backward", "--checkpoint", folder_ / "b", "--time-limit", "1h"})).code, 2);
  EXPECT_EQ(run_program(plainly, words({"--checkpoint", folder_ / "step-000012"})).code, 2) << "it could not be resumed";
}

TEST_F(Resume, ClaimsNoVerificationThatItDidNotDo) {
  ASSERT_EQ(run_program(plainly, words({"--checkpoint", saved()})).code, 0);
  const Outcome outcome = run_program(plainly, resume_words({"--verify", "3"}));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(report()["verify"].is_null()) << "all layers were done before";
  EXPECT_EQ(outcome.out.find("verified"), std::string::npos) << outcome.out;
}

TEST_F(Resume, GoesOnOnOtherRanksLayoutsAndHalos) {
  ASSERT_EQ(run_program(2, words({"--checkpoint", saved(), "--checkpoint-every", "2"})).code, 0);
  std::filesystem::remove_all(step(4));
  const std::vector<std::vector<std::string>> ways{{"--layout", "striped", "--local-halo", "exchange"},
                                                   {"--layout", "contiguous", "--local-halo", "resident"}};
  for (const int np : {1, 5}) {
    for (std::vector<std::string> way : ways) {
      way.insert(way.begin(), {"run", "--resume", saved(), "--threads", "1", "--verify", "9"});
      const Outcome outcome = run_program(np, way);
      EXPECT_EQ(outcome.code, 0) << outcome.err;
      EXPECT_NE(outcome.out.find("resumed          " + step(2) + " (2 of 5 layers are done)"), std::string::npos) << outcome.out;
    }
  }
}

TEST_F(Resume, WorksBackwardsOverDamageAndSaysSo) {
  ASSERT_EQ(run_program(2, words({"--checkpoint", saved(), "--checkpoint-every", "2"})).code, 0);
  const std::string whole = report()["digest"];
  std::fstream file(step(4) + "/activations.h5", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-100, std::ios::end);
  file.put('!');
  file.close();
  const Outcome outcome = run_program(2, resume_words({}));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("skipped "), std::string::npos) << outcome.out;
  EXPECT_EQ(report()["resumed_from"], step(2));
  EXPECT_EQ(report()["digest"], whole);
}

TEST_F(Resume, KeepsDocumentsApartWhereverTheirListIs) {
  const std::string list = folder_ / "list.h5";
  write_plain(list, {{"bounds", "i32", {4}, {0, 100, 500, 900}}, {"others", "i32", {3}, {0, 100, 900}}});
  const std::string whole = digest(3, words({"--cu-seqlens", list + ":/bounds"}));
  EXPECT_NE(whole, digest(3, words({})));
  ASSERT_EQ(digest(3, words({"--cu-seqlens", list + ":/bounds", "--checkpoint", saved(), "--checkpoint-every", "2"})), whole);
  std::filesystem::remove_all(step(4));
  EXPECT_EQ(digest(3, resume_words({})), whole);
  const std::string moved = folder_ / "moved.h5";
  std::filesystem::rename(list, moved);
  EXPECT_EQ(digest(3, resume_words({"--cu-seqlens", moved + ":/bounds"})), whole);
  EXPECT_EQ(run_program(3, resume_words({"--cu-seqlens", moved + ":/others"})).code, 3) << "of another run";
  const Outcome lost = run_program(3, resume_words({}));
  EXPECT_EQ(lost.code, 3);
  EXPECT_NE(lost.err.find(list), std::string::npos) << lost.err;
}

TEST_F(Resume, StopsInTimeWithCodeSevenAndIsResumed) {
  const std::string whole = digest(2, words({}));
  const Outcome stopped = run_program(2, words({"--checkpoint", saved(), "--checkpoint-every", "3", "--time-limit", "1s"}));
  EXPECT_EQ(stopped.code, 7) << stopped.err;
  ASSERT_EQ(stopped.messages().size(), 1U) << stopped.err;
  EXPECT_NE(stopped.messages()[0].find("saved as " + step(1) + ", go on with --resume " + saved()), std::string::npos);
  EXPECT_EQ(digest(2, resume_words({})), whole);
}

TEST_F(Resume, RefusesWhatContradictsTheSavedRun) {
  ASSERT_EQ(run_program(plainly, words({"--checkpoint", saved(), "--checkpoint-every", "2"})).code, 0);
  const std::vector<std::vector<std::string>> clashes{{"--heads", "4"},          {"--seed", "1"},   {"--seq-len", "800"},
                                                      {"--pattern", "G"},        {"--no-causal"},   {"--dtype", "bf16"},
                                                      {"--residual-alpha", "1"}, {"--backward"}};
  for (const std::vector<std::string>& clash : clashes) {
    const Outcome outcome = run_program(plainly, resume_words(clash));
    EXPECT_EQ(outcome.code, 2) << clash[0] << ": " << outcome.err;
  }
  EXPECT_EQ(run_program(plainly, resume_words({"--heads", "2", "--seq-len", "900"})).code, 0) << "as saved";
  EXPECT_EQ(run_program(plainly, words({"--time-limit", "1h"})).code, 2) << "nothing to save to";
  for (const char* lonely : {"--checkpoint-every", "--keep"}) {
    EXPECT_EQ(run_program(plainly, words({lonely, "2"})).code, 2) << lonely << " with nowhere to save to";
  }
  for (const char* nonsense : {"0", "-1", "4294967296", "x"}) {
    EXPECT_EQ(run_program(plainly, words({"--checkpoint", saved(), "--keep", nonsense})).code, 2) << nonsense;
  }
  const Outcome inner = run_program(plainly, {"run", "--resume", step(2)});
  EXPECT_EQ(inner.code, 3);
  EXPECT_NE(inner.err.find("the folder around it is wanted"), std::string::npos) << inner.err;
  for (const char* nonsense : {"5", "h", "1m1h", "-3s", "0s", "3h50"}) {
    EXPECT_EQ(run_program(plainly, words({"--checkpoint", saved(), "--time-limit", nonsense})).code, 2) << nonsense;
  }
  for (const char* nonsense : {"x", "q,q", "q,,v", "q,", "", "lse "}) {
    EXPECT_EQ(run_program(plainly, words({"--checkpoint", saved(), "--checkpoint-tensors", nonsense})).code, 2) << nonsense;
  }
}

}  // namespace
}  // namespace annulus::test
