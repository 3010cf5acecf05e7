/// What `annulus run` is asked to do.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "launch/model_options.hpp"
#include "launch/options.hpp"
#include "runtime/stack/stack_rows.hpp"

namespace annulus::launch {

struct RunOptions {
  AttentionOptions attention;
  ModelOptions model;
  stack::LocalHalo local_halo = stack::LocalHalo::automatic;
  std::string input;         ///< a file of tokens, or FILE.h5:/dataset; empty only with dry_run
  std::int64_t seq_len = 0;  ///< 0: the whole input
  std::string cu_seqlens;    ///< FILE.h5:/dataset of the documents' bounds; empty: beside the input, if there
  std::int64_t verify_rows = 0;  ///< 0: no verification
  std::string output;            ///< empty: none
  std::string trace;             ///< empty: none
  bool dry_run = false;
  std::string checkpoint;             ///< folder of generations; empty: none
  std::int64_t checkpoint_every = 1;  ///< layers
  std::vector<std::string> checkpoint_tensors;  ///< beside x: of q, k, v, out, lse
  std::int64_t keep = 2;              ///< generations
  double time_limit_seconds = 0;      ///< 0: none
  std::string resume;                 ///< folder of generations; empty: a new run
  std::int64_t resumed_batch = 1;     ///< of the resumed run's input
  std::vector<std::string> defining;  ///< the arguments that results depend on, each as --name or --name=value
};

/// Throws UsageError. Local.
RunOptions parse_run_options(std::span<const std::string> arguments);
std::string run_help();

}  // namespace annulus::launch
