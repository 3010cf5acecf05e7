/// Saves generation after generation until it is killed; `three` saves three; `check` loads the newest and compares
/// every bit; `plan` saves one whose plan is TEXT. Usage: checkpoint_saver save|three|check FOLDER, plan FOLDER TEXT
// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <cstdio>
#include <string>

#include "runtime/checkpoint/checkpoint.hpp"
#include "runtime/comm/session.hpp"
#include "tests/runtime/checkpoint/checkpoint_case.hpp"

namespace {

using annulus::Checkpoint;
using annulus::Communicator;

annulus::test::CheckpointCase shards_of(const Communicator& world) {
  return {annulus::Layout(annulus::LayoutKind::zigzag, 1031, world.size()), world.rank()};
}

/// The newest step; 0 if there is none.
std::int64_t check(const Communicator& world, const std::string& folder) {
  const auto shards = shards_of(world);
  try {
    const auto report = Checkpoint(world.raw(), folder).load(shards.loaded());
    if (shards.wrong(report.notes.seed) != 0) throw annulus::Error(annulus::ExitCode::verification, "bits differ");
    for (const std::string& skipped : report.skipped) std::printf("skipped %s\n", skipped.c_str());
    return report.notes.step;
  } catch (const annulus::InputError& error) {
    std::printf("%s\n", error.what());
    return 0;
  }
}

void save_three(const Communicator& world, const std::string& folder) {
  auto shards = shards_of(world);
  Checkpoint checkpoint(world.raw(), folder, {.keep = 3});
  for (std::int64_t step = 1; step <= 3; ++step) {
    shards.fill(static_cast<std::uint64_t>(step));
    checkpoint.save({.step = step, .plan = "plan " + std::to_string(step) + " \x1b[2J"}, shards.saved());
  }
}

void save_plan(const Communicator& world, const std::string& folder, const std::string& plan) {
  const auto shards = shards_of(world);
  Checkpoint(world.raw(), folder).save({.step = 1, .plan = plan}, shards.saved());
}

[[noreturn]] void save_for_ever(const Communicator& world, const std::string& folder) {
  auto shards = shards_of(world);
  Checkpoint checkpoint(world.raw(), folder);
  checkpoint.claim();
  std::printf("rank %d\n", static_cast<int>(getpid()));
  for (std::int64_t step = check(world, folder) + 1;; ++step) {
    shards.fill(static_cast<std::uint64_t>(step));
    checkpoint.save({.step = step, .seed = static_cast<std::uint64_t>(step)}, shards.saved());
    if (world.rank() == 0) std::printf("saved %d\n", static_cast<int>(step));
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // a line that is lost with its process would be no promise
  try {
    const annulus::Session session(argc, argv);
    const std::string what = argc > 1 ? argv[1] : "";
    if (argc != (what == "plan" ? 4 : 3)) return 2;
    if (what == "save") save_for_ever(session.world(), argv[2]);
    if (what == "three") save_three(session.world(), argv[2]);
    if (what == "plan") save_plan(session.world(), argv[2], argv[3]);
    if (what == "check") std::printf("newest %d\n", static_cast<int>(check(session.world(), argv[2])));
    return 0;
  } catch (const annulus::Error& error) {
    std::fprintf(stderr, "checkpoint_saver: %s\n", error.what());
    annulus::Session::abort(error.code());
  }
}
