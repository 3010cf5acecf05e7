/// What a run will do and take, before it does or takes anything.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "launch/run/documents.hpp"
#include "launch/run/input.hpp"
#include "launch/run/options.hpp"
#include "runtime/stack/memory_plan.hpp"

namespace annulus::launch {

/// The same on every rank.
struct Plan {
  stack::ModelSpec model;
  stack::RunShape shape;
  std::string cu_seqlens;  ///< where its documents come from; empty: one document
  std::vector<stack::MemoryItem> memory;
};

/// Local. `input` null: a dry run or a resumed one. Throws UsageError, InputError and ResourceError.
Plan make_plan(const RunOptions& options, const RunInput* input, const Documents& documents, int ranks, int threads);

/// Collective. Threads of the rank that has most.
int planned_threads(const Communicator& world, const RunOptions& options);

}  // namespace annulus::launch
