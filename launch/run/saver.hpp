/// When a run saves its activations, and when it stops because it was asked to.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "kernels/base/stopwatch.hpp"
#include "launch/report.hpp"
#include "launch/run/options.hpp"
#include "runtime/checkpoint/checkpoint.hpp"
#include "runtime/stack/stack.hpp"

namespace annulus::launch {

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
