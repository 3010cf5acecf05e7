/// `annulus checkpoint` as a user meets it: what it lists, finds, removes and refuses, plainly and on three ranks.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <fstream>
#include <memory>

#include "tests/launch/program.hpp"

namespace annulus::test {
namespace {

namespace fs = std::filesystem;

/// Three generations, made once by the saver of these tests and copied for each.
class CheckpointCommand : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    saved_ = std::make_unique<Folder>();
    const Outcome outcome = run_ranks({{.program = ANNULUS_TEST_SAVER, .words = {"three", *saved_ / "ckpt"}}});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
  }
  static void TearDownTestSuite() { saved_.reset(); }
  void SetUp() override { fs::copy(*saved_ / "ckpt", path_, fs::copy_options::recursive); }

  Outcome checkpoint(int np, std::vector<std::string> words) const {
    words.insert(words.begin(), "checkpoint");
    return run_program(np, words);
  }
  void expect_refusal(const Outcome& outcome, int code, const std::string& said) const {
    EXPECT_EQ(outcome.code, code) << outcome.err;
    ASSERT_EQ(outcome.messages().size(), 1U) << outcome.err;
    EXPECT_NE(outcome.messages()[0].find(said), std::string::npos) << outcome.messages()[0];
  }
  void damage(const std::string& generation) const {
    std::fstream file(path_ + "/" + generation + "/activations.h5", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1, std::ios::end);
    file.put('?');
  }
  std::set<std::string> names() const {
    std::set<std::string> found;
    for (const auto& entry : fs::directory_iterator(path_)) found.insert(entry.path().filename().string());
    return found;
  }

  static inline std::unique_ptr<Folder> saved_;
  Folder folder_;
  std::string path_ = folder_ / "ckpt";
};

TEST_F(CheckpointCommand, ListsWhatIsThere) {
  fs::remove(path_ + "/step-000002/manifest.json");
  fs::create_directory(path_ + "/.tmp-step-000004.1-1");
  for (const int np : {plainly, 3}) {
    const Outcome outcome = checkpoint(np, {"ls", path_});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_LT(outcome.out.find("step-000003"), outcome.out.find("step-000001")) << "newest first";
    EXPECT_NE(outcome.out.find("manifest.json' (No such file"), std::string::npos) << outcome.out;
    EXPECT_NE(outcome.out.find(".tmp-step-000004.1-1  (being written"), std::string::npos) << outcome.out;
  }
}

TEST_F(CheckpointCommand, ShowsTheNewestOrTheOneNamed) {
  for (const int np : {plainly, 3}) {
    const Outcome newest = checkpoint(np, {"show", path_});
    EXPECT_NE(newest.out.find("step        3\n"), std::string::npos) << newest.out << newest.err;
    EXPECT_NE(newest.out.find("/layers/000003/q    bf16   2 x 1031 x 3 x 5"), std::string::npos) << newest.out;
    const Outcome first = checkpoint(np, {"show", path_ + "/step-000001/"});
    EXPECT_NE(first.out.find("step        1\n"), std::string::npos) << first.out << first.err;
    EXPECT_NE(first.out.find("plan\nplan 1 ?[2J\n"), std::string::npos) << "control codes stay away from the terminal";
  }
}

TEST_F(CheckpointCommand, VerifiesEveryByte) {
  const Outcome sound = checkpoint(3, {"verify", path_});
  EXPECT_EQ(sound.code, 0) << sound.out << sound.err;
  EXPECT_NE(sound.out.find("step-000001  sound"), std::string::npos) << sound.out;
  damage("step-000002");
  for (const int np : {plainly, 3}) {
    const Outcome outcome = checkpoint(np, {"verify", path_});
    expect_refusal(outcome, 3, "1 of 3 generations");
    EXPECT_NE(outcome.out.find("step-000002  damaged"), std::string::npos) << outcome.out;
    EXPECT_NE(outcome.out.find("rows 1009 to 1030 of batch 1 (bytes "), std::string::npos) << outcome.out;
    EXPECT_NE(outcome.out.find("step-000003  sound"), std::string::npos) << outcome.out;
  }
  EXPECT_EQ(checkpoint(3, {"verify", path_ + "/step-000003"}).code, 0);
}

TEST_F(CheckpointCommand, PrunesAllButTheNewest) {
  EXPECT_EQ(checkpoint(3, {"prune", path_}).code, 0);
  EXPECT_EQ(names(), (std::set<std::string>{".lock", "step-000002", "step-000003"}));
  fs::remove(path_ + "/step-000002/manifest.json");
  fs::create_directory(path_ + "/.tmp-step-000004.1-1");
  EXPECT_EQ(checkpoint(plainly, {"prune", path_, "--keep", "1"}).code, 0);
  EXPECT_EQ(names(), (std::set<std::string>{".lock", "step-000002", "step-000003"}))
      << "the unknown stays, leftovers go";
}

TEST_F(CheckpointCommand, DoesNotPruneWhereAnotherJobSaves) {
  const int lock = open((path_ + "/.lock").c_str(), O_RDWR);
  ASSERT_EQ(flock(lock, LOCK_EX | LOCK_NB), 0);
  expect_refusal(checkpoint(plainly, {"prune", path_, "--keep", "1"}), 4, "is saving there");
  close(lock);
  EXPECT_EQ(names().size(), 4U);
}

TEST_F(CheckpointCommand, RefusesWhatIsNoCheckpoint) {
  fs::create_directory(folder_ / "empty");
  for (const char* action : {"show", "verify", "prune"}) {
    expect_refusal(checkpoint(plainly, {action, folder_ / "empty"}), 3, "holds no checkpoint");
  }
  expect_refusal(checkpoint(3, {"verify", folder_ / "empty"}), 3, "holds no checkpoint");
  expect_refusal(checkpoint(3, {"ls", folder_ / "absent"}), 3, "No such file");
  EXPECT_EQ(checkpoint(plainly, {"ls", folder_ / "empty"}).code, 0);
  expect_refusal(checkpoint(plainly, {"verify", path_ + "/step-000009"}), 3, "step-000009");
}

TEST_F(CheckpointCommand, RefusesWordsItDoesNotKnow) {
  expect_refusal(checkpoint(plainly, {}), 2, "ls|show|verify|prune is missing");
  expect_refusal(checkpoint(plainly, {"ls"}), 2, "DIR is missing");
  expect_refusal(checkpoint(plainly, {"list", path_}), 2, "unknown word 'list'");
  expect_refusal(checkpoint(plainly, {"ls", path_, "--keep", "2"}), 2, "--keep is for");
  expect_refusal(checkpoint(plainly, {"prune", path_, "--keep", "0"}), 2, "--keep");
  EXPECT_NE(checkpoint(plainly, {"--help"}).out.find("prune"), std::string::npos);
}

}  // namespace
}  // namespace annulus::test
