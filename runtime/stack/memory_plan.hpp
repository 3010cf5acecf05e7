/// What a run will allocate on the rank that needs most, before it allocates anything. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/stack/model.hpp"
#include "runtime/stack/stack_rows.hpp"

namespace annulus::stack {

struct MemoryItem {
  std::string name;
  std::uint64_t bytes = 0;
};

/// How far and how wide a stack is run.
struct RunShape {
  LayoutSpec layout;
  int ranks = 1;
  int threads = 1;
  kernels::Direction direction = kernels::Direction::forward;
  ExchangeKind exchange = ExchangeKind::automatic;
  LocalHalo local_halo = LocalHalo::exchange;  ///< resolved
  std::int64_t verify_rows = 0;
  bool tensor_files = false;  ///< reads or writes HDF5
  bool file_windows = true;   ///< reads tokens, takes a digest
  bool process = true;        ///< is all that the process does: its libraries' first use counts
  bool tokens = true;         ///< x is made of tokens, by a table
};

/// Every buffer that grows with the input or the model, checked in 64 bits. Forward is O(shard); backward keeps x, out
/// and lse of every layer and recomputes q, k and v: O(layers * shard). Throws UsageError as check() does.
std::vector<MemoryItem> memory_plan(const ModelSpec& model, const RunShape& run, const kernels::KernelTable& table);

/// Throws ResourceError if the sum does not fit 63 bits.
std::uint64_t total_bytes(const std::vector<MemoryItem>& plan);

}  // namespace annulus::stack
