/// How a run goes on from a checkpoint.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/run/options.hpp"
#include "runtime/checkpoint/checkpoint.hpp"
#include "runtime/stack/stack.hpp"

namespace annulus::launch {

/// Of a tensor behind so many layers: "layers/000012/x".
std::string tensor_name(std::int64_t layers_done, const std::string& tensor);

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
/// True for plans of one run. The list of documents may have moved in between: the model knows its digest.
bool same_run(const std::string& a, const std::string& b);

/// Loads the newest sound generation into the stack's input of the layer that follows. Collective. Returns that layer.
struct Resumed {
  std::int64_t layer = 0;
  LoadReport report;
};
Resumed resume(const Communicator& world, const std::string& folder, const std::string& plan, stack::Stack& stack);

}  // namespace annulus::launch
