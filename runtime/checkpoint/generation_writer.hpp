/// Writes one generation, all ranks together, and proves that it can be read before it gets its name.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>

#include "runtime/checkpoint/checkpoint.hpp"
#include "runtime/checkpoint/data_file.hpp"
#include "runtime/checkpoint/generation_folder.hpp"
#include "runtime/checkpoint/manifest.hpp"

namespace annulus::checkpoint {

/// Methods are collective, once each, in this order. What one throws, all ranks throw, and the new files are removed.
class GenerationWriter {
 public:
  /// `manifest` lacks offsets, sizes and checksums.
  GenerationWriter(const Communicator& comm, const std::string& folder, Manifest manifest);

  /// Lays the file out on rank 0, with its space reserved; all ranks open it.
  void prepare();
  /// Shards in the order of the manifest's datasets.
  void write(std::span<const SavedShard> shards);
  void sync();
  /// Each rank reads back what it wrote, from the disk where the file system allows, and compares checksums.
  void verify();
  /// Manifest, rename. Returns the path.
  std::string publish();

  std::uint64_t bytes() const { return manifest_.file_bytes; }

 private:
  void lay_out();
  void share_layout();
  void write_tensor(const SavedShard& shard, DatasetRecord& dataset) const;
  void verify_tensor(const DatasetRecord& dataset, const Layout& layout) const;

  const Communicator& comm_;
  std::string folder_;
  Manifest manifest_;
  std::vector<Layout> layouts_;                ///< [dataset]
  std::unique_ptr<NewGeneration> generation_;  ///< on rank 0
  std::unique_ptr<DataFile> file_;
};

}  // namespace annulus::checkpoint
