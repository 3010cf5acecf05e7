/// Reads granules and compares them with their checksums. Local.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "kernels/base/buffer.hpp"
#include "runtime/checkpoint/data_file.hpp"
#include "runtime/checkpoint/manifest.hpp"

namespace annulus::checkpoint {

/// "rows 0 to 4095 of batch 1", with heads for row statistics.
std::string rows_text(const DatasetRecord& dataset, std::int64_t g);

class GranuleCheck {
 public:
  /// Keeps references.
  GranuleCheck(const DataFile& file, const DatasetRecord& dataset) : file_(file), dataset_(dataset) {}

  /// The bytes of granule g, in `to` or in memory of its own (valid until the next call). Throws InputError that names
  /// dataset, rows and bytes of the file if they are not those that were saved.
  void read(std::int64_t g, std::span<std::byte> to) const;
  std::span<const std::byte> read(std::int64_t g);

 private:
  std::uint64_t offset(std::int64_t g) const;

  const DataFile& file_;
  const DatasetRecord& dataset_;
  Buffer<std::byte> own_;
};

/// Throws InputError if what HDF5 keeps in the file is not what was saved.
void check_metadata(const DataFile& file, const Manifest& manifest);

}  // namespace annulus::checkpoint
