/// Checkpoints of sharded tensors: saved by all ranks, loaded on any number of ranks and in any layout with the same
/// bits.
///
///   annulus::Checkpoint checkpoint(comm, "ckpt");                                        // collective over comm
///   checkpoint.save({.step = 12, .plan = plan}, {{{"x", layout, x}, {"lse", layout, lse}}});
///   checkpoint.load({{{"x", layout, x}}});                                               // newest complete one
///
/// The files, and which failures they survive: docs/checkpoints.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "kernels/base/dtype.hpp"
#include "kernels/base/error.hpp"
#include "kernels/base/view.hpp"
#include "runtime/comm/communicator.hpp"
#include "runtime/layout/layout.hpp"

namespace annulus {

/// A tensor by name and this rank's rows of it: [batch, rows, heads, head_dim] of any dtype, or row statistics
/// [batch, heads, rows]. In the file, rows become all positions of the layout.
template <class Tensor, class Stats>
struct BasicShard {
  std::string name;  ///< letters, digits, '_', '-', '.', with '/' between groups: "layers/000012/x"
  Layout layout;     ///< over as many ranks as the communicator has
  std::variant<Tensor, Stats> rows;
  /// Saved as [batch, seq, heads * head_dim]. Loading takes either form.
  bool merge_heads = false;
};
using SavedShard = BasicShard<ConstTensorView, ConstRowStats>;
using LoadedShard = BasicShard<TensorView, RowStats>;

/// What a generation says about itself besides its tensors. The same on all ranks.
struct CheckpointNotes {
  std::int64_t step = 0;  ///< names the folder: step-000012
  std::string plan = {};  ///< any UTF-8 text, such as the settings of the run as JSON
  std::uint64_t seed = 0;
};

struct CheckpointOptions {
  int keep = 2;  ///< complete generations that stay, the new one included
};

struct SaveReport {
  std::string path;
  std::uint64_t bytes = 0;          ///< of the data file
  double write_seconds = 0;         ///< reserving, writing and syncing; maxima over ranks
  double verify_seconds = 0;        ///< reading all of it back and comparing checksums
  double seconds = 0;               ///< all in all
  std::vector<std::string> pruned;  ///< older generations that are gone
  std::string prune_problem;        ///< why older ones stay though they should go; the new one is safe all the same
};

/// A tensor of a complete generation.
struct SavedTensorInfo {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
  LayoutKind saved_layout = LayoutKind::contiguous;  ///< at the time; loading may use any
};

/// Bytes of a generation are not those that were saved. Thrown by all ranks.
struct DamagedCheckpointError : InputError {
  using InputError::InputError;
};

/// A complete generation, open for reading. Lives within Checkpoint::load_newest.
class SavedGeneration {
 public:
  const std::string& path() const;  ///< local, as all up to tensors()
  CheckpointNotes notes() const;
  std::vector<SavedTensorInfo> tensors() const;
  double read_seconds() const;  ///< of this rank in load() and load_rows() so far

  /// Collective. Reads every byte of these tensors once, verified against its checksum, and brings each row to its
  /// rank. Throws on all ranks: InputError with what is expected and what is there, DamagedCheckpointError (the shards'
  /// contents are then anything).
  void load(std::span<const LoadedShard> shards) const;
  /// Collective, with pieces of each rank's own choice, which may overlap others': for halos. Reads the granules around
  /// them, verified. `to` has the rows that the pieces name.
  void load_rows(const std::string& name, std::span<const Piece> pieces, const TensorView& to) const;

  struct Impl;
  explicit SavedGeneration(std::unique_ptr<Impl> impl);
  ~SavedGeneration();

 private:
  std::unique_ptr<Impl> impl_;
};

struct LoadReport {
  std::string path;
  CheckpointNotes notes;
  double read_seconds = 0;           ///< maximum over ranks
  std::vector<std::string> skipped;  ///< newer generations that are damaged or incomplete, and why
};

/// A folder of generations (for loading, one of them will do). Construction and methods are collective; failures are
/// thrown by all ranks alike.
class Checkpoint {
 public:
  /// Touches no file.
  Checkpoint(MPI_Comm comm, std::string folder, CheckpointOptions options = {});
  ~Checkpoint();
  Checkpoint(Checkpoint&&) noexcept;

  /// Makes the folder (not its parents) and locks it until destruction: ResourceError if another job saves there.
  /// save() does this too; call it to learn before the work that saving will be possible.
  void claim();

  /// Adds a generation. When this returns, it is on disk, verified, and found after a crash. Until then, and if this
  /// throws (ResourceError: disk full or failing), the former generations are untouched. Replaces a generation of the
  /// same step.
  SaveReport save(const CheckpointNotes& notes, std::span<const SavedShard> shards);

  /// Loads from the newest generation that is complete and undamaged.
  LoadReport load(std::span<const LoadedShard> shards) const;

  /// Calls `use` with the newest complete generation; if that turns out to be damaged (DamagedCheckpointError leaves
  /// `use`), with the one before, and so on. InputError if there is none. Other exceptions of `use` pass.
  LoadReport load_newest(const std::function<void(const SavedGeneration&)>& use) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace annulus
