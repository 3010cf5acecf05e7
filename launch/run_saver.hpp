/// When a run saves its activations, and when it stops because it was asked to.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernels/base/stopwatch.hpp"
#include "launch/report.hpp"
#include "launch/run_options.hpp"
#include "runtime/checkpoint/checkpoint.hpp"
#include "runtime/stack/stack.hpp"

namespace annulus::launch {

/// What a checkpoint says of the run that wrote it: enough to go on without any other option. `cu_seqlens`: where the list
/// of documents came from, or empty; only its digest tells runs apart.
std::string plan_text(const RunOptions& options, const stack::ModelSpec& model, const std::string& cu_seqlens);

/// The arguments that a checkpoint's newest generation was made with, and what was found in its input. Throws InputError.
/// Local.
struct SavedRun {
  std::vector<std::string> arguments;
  std::int64_t batch = 1;
  std::string cu_seqlens;
};
SavedRun saved_run(const std::string& folder);
[[noreturn]] void refuse_to_resume(const std::string& folder, const std::string& why);

/// From here on SIGUSR1 asks a run to save and stop: before MPI starts, so that none comes too early. Local.
void listen_for_stop();

/// Loads the newest sound generation into the stack's input of the layer that follows. Collective. Returns that layer.
struct Resumed {
  std::int64_t layer = 0;
  LoadReport report;
};
Resumed resume(const Communicator& world, const std::string& folder, const std::string& plan, stack::Stack& stack);

/// Saves every so many layers, and stops at SIGUSR1 or before the time limit. Methods are collective.
class RunSaver {
 public:
  /// Claims the folder: a second job there is refused before any work, and so is a run that would prune the saves of
  /// another one, or its own that it does not resume.
  RunSaver(const Communicator& world, const RunOptions& options, std::string plan, std::uint64_t seed);
  ~RunSaver();

  /// After each forward layer but the last of the stack; saves x if it is time. Throws Error(ExitCode::stopped) on all
  /// ranks, once saved, if a stop was asked for.
  void layer_done(stack::Stack& stack, std::int64_t layers_done, std::int64_t layers);

  const std::vector<SaveReport>& saves() const { return saves_; }

 private:
  enum class Wish { none, signal, time };
  void check_folder() const;
  Wish agreed_wish();
  void save(stack::Stack& stack, std::int64_t layers_done);

  const Communicator& world_;
  const RunOptions& options_;
  std::string plan_;
  std::uint64_t seed_;
  Checkpoint checkpoint_;
  Stopwatch watch_;
  double layer_began_ = 0;
  double longest_layer_ = 0;
  std::vector<SaveReport> saves_;
};

Json saves_to_json(const std::vector<SaveReport>& saves);
/// "nothing (...)" or "3 times, last ckpt/step-000006 (12.0 MiB: written in 35 ms, verified in 20 ms)".
std::string saves_text(const std::vector<SaveReport>& saves);

}  // namespace annulus::launch
