/// The face: who may save, which generation is the newest, and what to do when it is damaged.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/checkpoint.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <annulus/version.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <set>

#include "kernels/base/stopwatch.hpp"
#include "runtime/checkpoint/folder_lock.hpp"
#include "runtime/checkpoint/generation_folder.hpp"
#include "runtime/checkpoint/generation_reader.hpp"
#include "runtime/checkpoint/generation_writer.hpp"
#include "runtime/checkpoint/lines.hpp"
#include "runtime/checkpoint/saved_shards.hpp"
#include "runtime/comm/agreement.hpp"

namespace annulus {

using checkpoint::FoundGeneration;
using checkpoint::GenerationReader;
using checkpoint::GenerationWriter;
using checkpoint::lines_of;
using checkpoint::Manifest;

struct SavedGeneration::Impl {
  GenerationReader reader;
};

SavedGeneration::SavedGeneration(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SavedGeneration::~SavedGeneration() = default;

const std::string& SavedGeneration::path() const { return impl_->reader.path(); }

CheckpointNotes SavedGeneration::notes() const {
  const Manifest& manifest = impl_->reader.manifest();
  return {manifest.step, manifest.plan, manifest.seed};
}

std::vector<SavedTensorInfo> SavedGeneration::tensors() const {
  std::vector<SavedTensorInfo> infos;
  for (const auto& dataset : impl_->reader.manifest().datasets) {
    infos.push_back({dataset.name, dataset.dtype, dataset.shape, dataset.saved_layout});
  }
  return infos;
}

double SavedGeneration::read_seconds() const { return impl_->reader.seconds(); }

void SavedGeneration::load(std::span<const LoadedShard> shards) const { impl_->reader.load(shards); }

void SavedGeneration::load_rows(const std::string& name, std::span<const Piece> pieces, const TensorView& to) const {
  impl_->reader.load_rows(name, pieces, to);
}

struct Checkpoint::Impl {
  Manifest blank_manifest(const CheckpointNotes& notes, std::span<const SavedShard> shards) const;
  void prune(SaveReport& report) const;
  bool try_one(const FoundGeneration& found, const std::function<void(const SavedGeneration&)>& use,
               LoadReport& report) const;

  Communicator comm;
  std::string folder;
  CheckpointOptions options;
  bool claimed = false;
  std::optional<checkpoint::FolderLock> lock;  ///< on rank 0, once claimed
};

Checkpoint::Checkpoint(MPI_Comm comm, std::string folder, CheckpointOptions options)
    : impl_(std::make_unique<Impl>(Impl{Communicator::duplicate(comm), std::move(folder), options, false, {}})) {
  together(impl_->comm, [&] {
    if (options.keep < 1) throw UsageError("a checkpoint must keep one generation at least; try keep = 2");
    if (impl_->folder.empty()) throw UsageError("a checkpoint needs a folder; try a name");
  });
}

Checkpoint::~Checkpoint() = default;
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;

void Checkpoint::claim() {
  if (impl_->claimed) return;
  together(impl_->comm, [&] {
    if (impl_->comm.rank() != 0) return;
    checkpoint::make_folder(impl_->folder);
    impl_->lock.emplace(impl_->folder);
    if (impl_->lock->held()) checkpoint::remove_leftovers(impl_->folder);
  });
  impl_->claimed = true;
}

/// Sequence numbers are rank 0's alone: it writes the manifest.
Manifest Checkpoint::Impl::blank_manifest(const CheckpointNotes& notes, std::span<const SavedShard> shards) const {
  Manifest manifest;
  manifest.step = notes.step;
  manifest.created = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  manifest.program_version = ANNULUS_VERSION;
  manifest.ranks = comm.size();
  manifest.seed = notes.seed;
  manifest.plan = notes.plan;
  for (const SavedShard& shard : shards) manifest.datasets.push_back(checkpoint::record_of(shard));
  if (comm.rank() != 0) return manifest;
  for (const FoundGeneration& found : checkpoint::find_generations(folder)) {
    if (found.manifest) manifest.sequence = std::max(manifest.sequence, found.manifest->sequence + 1);
  }
  return manifest;
}

namespace {

/// Collective. Everything up to the name; the seconds are maxima over ranks.
SaveReport run(GenerationWriter& writer, const Communicator& comm, std::span<const SavedShard> shards) {
  Stopwatch watch;
  writer.prepare();
  writer.write(shards);
  writer.sync();
  const double written = watch.lap();
  writer.verify();
  const double verified = watch.lap();
  SaveReport report;
  report.path = writer.publish();
  report.bytes = writer.bytes();
  std::array<double, 3> seconds{written, verified, written + verified + watch.lap()};
  comm.max(seconds);
  report.write_seconds = seconds[0];
  report.verify_seconds = seconds[1];
  report.seconds = seconds[2];
  return report;
}

}  // namespace

SaveReport Checkpoint::save(const CheckpointNotes& notes, std::span<const SavedShard> shards) {
  const Communicator& comm = impl_->comm;
  std::uint64_t settings = 0;
  const Verdict checked = verdict_of([&] {
    checkpoint::check_saved(comm, notes, shards);
    settings = checkpoint::settings_hash(notes, shards);
  });
  agree_on_settings(comm, settings, "the checkpoint to save", checked);
  claim();
  Manifest manifest;
  together(comm, [&] { manifest = impl_->blank_manifest(notes, shards); });
  GenerationWriter writer(comm, impl_->folder, std::move(manifest));
  SaveReport report = run(writer, comm, shards);
  impl_->prune(report);
  return report;
}

/// Collective. The new generation is safe by now: whatever fails here is no failure to save.
void Checkpoint::Impl::prune(SaveReport& report) const {
  std::string text;
  if (comm.rank() == 0) {
    report.prune_problem = verdict_of([&] {
                             for (const std::string& path : checkpoint::prune_generations(folder, options.keep)) {
                               text += path + '\n';
                             }
                           }).message;
  }
  comm.broadcast(report.prune_problem, 0);
  comm.broadcast(text, 0);
  report.pruned = lines_of(text);
}

LoadReport Checkpoint::load(std::span<const LoadedShard> shards) const {
  return load_newest([&](const SavedGeneration& generation) { generation.load(shards); });
}

LoadReport Checkpoint::load_newest(const std::function<void(const SavedGeneration&)>& use) const {
  const auto all = checkpoint::find_together(impl_->comm, impl_->folder);
  LoadReport report;
  for (const FoundGeneration& found : all) {
    if (!found.problem.empty() || !impl_->try_one(found, use, report)) continue;
    for (const FoundGeneration& other : all) {
      if (!other.problem.empty() && other.step >= report.notes.step) report.skipped.push_back(other.problem);
    }
    return report;
  }
  for (const FoundGeneration& found : all) {
    if (!found.problem.empty()) report.skipped.push_back(found.problem);
  }
  std::string why = "no folder step-NNNNNN";
  for (std::size_t i = 0; i < report.skipped.size(); ++i) why = (i == 0 ? "" : why + "; ") + report.skipped[i];
  throw InputError("'" + impl_->folder + "' holds no checkpoint that can be loaded (" + why + "); try another folder");
}

/// Collective. False if a complete generation turns out to be damaged.
bool Checkpoint::Impl::try_one(const FoundGeneration& found, const std::function<void(const SavedGeneration&)>& use,
                               LoadReport& report) const {
  try {
    const SavedGeneration generation(std::make_unique<SavedGeneration::Impl>(GenerationReader(comm, found)));
    use(generation);
    report.path = generation.path();
    report.notes = generation.notes();
    std::array<double, 1> seconds{generation.read_seconds()};
    comm.max(seconds);
    report.read_seconds = seconds[0];
    return true;
  } catch (const DamagedCheckpointError& error) {
    report.skipped.emplace_back(error.what());
    return false;
  }
}

}  // namespace annulus
