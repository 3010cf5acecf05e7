/// Generations as folders: FOLDER/step-NNNNNN is there whole or not at all.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/checkpoint/manifest.hpp"

namespace annulus::checkpoint {

/// A folder that bears a generation's name.
struct FoundGeneration {
  std::string path;
  std::int64_t step = 0;      ///< by its name
  std::string problem;        ///< why it is not complete; empty if it is
  std::string manifest_text;  ///< of a complete one
  std::optional<Manifest> manifest;
};

/// "step-000012".
std::string generation_name(std::int64_t step);

/// The generation in one folder step-NNNNNN: its manifest is read, its data file has the right size. Local.
FoundGeneration inspect_generation(const std::string& path);
/// True for a path whose last part is a generation's name.
bool is_generation_path(const std::string& path);

/// All generations of a folder: first those without a sound manifest, then the complete ones, the newest first. Throws
/// InputError if the folder cannot be listed. Local.
std::vector<FoundGeneration> find_generations(const std::string& folder);
/// What killed jobs left in a folder, or a running one is writing. Local.
std::vector<std::string> find_leftovers(const std::string& folder);

/// Makes the folder, not its parents. Throws ResourceError. Local.
void make_folder(const std::string& folder);

/// A generation under a temporary name; the destructor removes what was not published. Local.
class NewGeneration {
 public:
  /// Throws ResourceError.
  NewGeneration(const std::string& folder, std::int64_t step);
  ~NewGeneration();
  NewGeneration(const NewGeneration&) = delete;
  NewGeneration& operator=(const NewGeneration&) = delete;

  const std::string& path() const { return path_; }  ///< the temporary one
  const std::string& published_path() const { return published_; }

  /// Writes the manifest, then gives the folder its name, and syncs both: from here on a crash or loss of power cannot
  /// undo it. A generation that bore the name is called step-NNNNNN.old now, until it is pruned. Throws ResourceError.
  void publish(const Manifest& manifest);

 private:
  std::string folder_;
  std::string path_;
  std::string published_;
};

/// Removes replaced generations and all but the newest `keep` complete ones, and returns their paths; those without a
/// sound manifest stay (they may be of a newer program). Throws ResourceError. Local.
std::vector<std::string> prune_generations(const std::string& folder, std::int64_t keep);
/// Only for the holder of the lock: another job may be writing them.
void remove_leftovers(const std::string& folder);

}  // namespace annulus::checkpoint
