/// Reads one generation, all ranks together, every byte verified.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/checkpoint/checkpoint.hpp"
#include "runtime/checkpoint/data_file.hpp"
#include "runtime/checkpoint/generation_folder.hpp"
#include "runtime/checkpoint/granule_exchange.hpp"
#include "runtime/checkpoint/manifest.hpp"

namespace annulus::checkpoint {

/// Collective. What rank 0 finds at `path`: one generation, or a folder of them, in the order of find_generations().
/// The other ranks learn paths, steps and problems, but no manifest.
std::vector<FoundGeneration> find_together(const Communicator& comm, const std::string& path);

/// Tensor bytes are read where the manifest says, without HDF5: what a hostile file makes HDF5 believe does not matter,
/// and no other file is ever opened. Methods are collective unless they say local; what one throws, all ranks throw.
class GenerationReader {
 public:
  /// What find_together() found, without a problem. Keeps a reference to `comm`.
  GenerationReader(const Communicator& comm, const FoundGeneration& found);

  const std::string& path() const { return path_; }       ///< local
  const Manifest& manifest() const { return manifest_; }  ///< local
  double seconds() const { return seconds_; }             ///< local: of this rank, reading and verifying

  void load(std::span<const LoadedShard> shards);
  void load_rows(const std::string& name, std::span<const Piece> pieces, const TensorView& to);

  /// Checks every byte, in parallel. One line per damage on rank 0 (at most `most` per rank), nothing elsewhere.
  std::vector<std::string> find_damage(std::size_t most) const;

 private:
  const DatasetRecord& dataset(const std::string& name) const;
  void check_shard(const LoadedShard& shard) const;
  void load_tensor(const LoadedShard& shard) const;
  void read_rows(const DatasetRecord& dataset, std::span<const Piece> pieces, const TensorView& to) const;
  std::vector<std::string> own_damage(std::size_t most) const;

  const Communicator& comm_;
  std::string path_;
  Manifest manifest_;
  std::unique_ptr<DataFile> file_;
  double seconds_ = 0;
};

}  // namespace annulus::checkpoint
