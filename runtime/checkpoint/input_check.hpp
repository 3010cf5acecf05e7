/// The first look at a file from a stranger, by one process alone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/checkpoint/tensor_file.hpp"

namespace annulus {

/// Size of a regular, readable, non-empty file. Throws InputError with path and reason; never blocks (a FIFO would).
std::uint64_t check_readable(const std::string& path);

/// A dataset and where its data are.
struct StoredTensor : TensorInfo {
  std::optional<std::uint64_t> offset;  ///< in the file, of contiguous data that are there
};

/// Those of `names` that the file holds, each checked: hard links from the root to a dataset in the file itself, no
/// external or virtual storage, known element type and filters, data within the file. Throws InputError. Local.
std::vector<StoredTensor> inspect_tensors(const std::string& path, std::span<const std::string> names);

}  // namespace annulus
