/// Keepers read and verify whole granules; the rows go where the new layout wants them.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/generation_reader.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "kernels/base/stopwatch.hpp"
#include "runtime/checkpoint/granule_check.hpp"
#include "runtime/checkpoint/hdf5_image.hpp"
#include "runtime/checkpoint/lines.hpp"
#include "runtime/comm/agreement.hpp"

namespace annulus::checkpoint {
namespace {

constexpr int damage_tag = 74;

/// Runs collective `work`; bad input in it means that the generation is damaged.
template <class Work>
void as_damage(Work&& work) {
  try {
    work();
  } catch (const InputError& error) {
    throw DamagedCheckpointError(error.what());
  }
}

/// Adds the time of a scope.
class TimedScope {
 public:
  explicit TimedScope(double& seconds) : seconds_(seconds) {}
  ~TimedScope() { seconds_ += watch_.seconds(); }
  TimedScope(const TimedScope&) = delete;
  TimedScope& operator=(const TimedScope&) = delete;

 private:
  double& seconds_;
  Stopwatch watch_;
};

/// The shapes in which a tensor may be stored that these rows can take.
std::vector<std::vector<std::int64_t>> shapes_of(const TensorView& view, std::int64_t seq) {
  return {{view.batch, seq, view.heads, view.head_dim}, {view.batch, seq, view.heads * view.head_dim}};
}
std::vector<std::vector<std::int64_t>> shapes_of(const RowStats& stats, std::int64_t seq) {
  return {{stats.batch, stats.heads, seq}};
}
DType dtype_of(const TensorView& view) { return view.dtype; }
DType dtype_of(const RowStats&) { return DType::f32; }

template <class View>
void check_fit(const DatasetRecord& dataset, const View& view, std::int64_t seq, const std::string& path) {
  const auto shapes = shapes_of(view, seq);
  const bool stats = std::is_same_v<View, RowStats>;
  const bool known = std::find(shapes.begin(), shapes.end(), dataset.shape) != shapes.end();
  if (known && dtype_of(view) == dataset.dtype && stats == (dataset.row_axis == 2)) return;
  throw InputError(
      fmt::format("/{} in '{}' is {} of shape {}, wanted is {} of shape {} (checkpoints are loaded as saved)",
                  dataset.name, path, name(dataset.dtype), dataset.shape, name(dtype_of(view)), shapes[0]));
}

std::uint64_t hash_of(const std::string& text) { return checksum_of(std::as_bytes(std::span(text))); }

/// Of what must be the same on all ranks: a shape may differ in its rows alone, which the layout names.
std::uint64_t wanted_hash(std::span<const LoadedShard> shards) {
  std::string text;
  for (const LoadedShard& shard : shards) {
    text += fmt::format("{} {} {} {} {}\n", shard.name, shard.rows.index(), shard.layout.seq_len(),
                        name(shard.layout.kind()), shard.layout.stripe());
  }
  return hash_of(text);
}

}  // namespace

std::vector<FoundGeneration> find_together(const Communicator& comm, const std::string& path) {
  std::vector<FoundGeneration> found;
  together(comm, [&] {
    if (comm.rank() != 0) return;
    found = is_generation_path(path) ? std::vector{inspect_generation(path)} : find_generations(path);
  });
  std::uint64_t count = found.size();
  comm.broadcast(std::as_writable_bytes(std::span(&count, 1)), 0);
  found.resize(count);
  for (FoundGeneration& generation : found) {
    comm.broadcast(std::as_writable_bytes(std::span(&generation.step, 1)), 0);
    comm.broadcast(generation.path, 0);
    comm.broadcast(generation.problem, 0);
  }
  return found;
}

GenerationReader::GenerationReader(const Communicator& comm, const FoundGeneration& found)
    : comm_(comm), path_(found.path) {
  std::string text = found.manifest_text;
  comm.broadcast(text, 0);
  as_damage([&] {
    together(comm, [&] {
      manifest_ = parse_manifest(text, path_ + "/" + manifest_name);
      file_ = std::make_unique<DataFile>(DataFile::open_to_read(path_ + "/" + data_name));
      if (comm.rank() == 0) check_metadata(*file_, manifest_);
    });
  });
}

const DatasetRecord& GenerationReader::dataset(const std::string& name) const {
  const DatasetRecord* found = manifest_.find(name);
  if (found == nullptr) throw InputError("'" + path_ + "' has no tensor /" + name);
  return *found;
}

void GenerationReader::check_shard(const LoadedShard& shard) const {
  const Layout& layout = shard.layout;
  const std::int64_t rows = std::visit([](const auto& view) { return view.rows; }, shard.rows);
  if (layout.ranks() != comm_.size() || rows != layout.rows(comm_.rank())) {
    throw UsageError(fmt::format("{} rows of '{}' do not fit its layout over {} ranks; try the layout's own rows", rows,
                                 shard.name, layout.ranks()));
  }
  std::visit([&](const auto& view) { check_fit(dataset(shard.name), view, layout.seq_len(), path_); }, shard.rows);
}

void GenerationReader::load(std::span<const LoadedShard> shards) {
  const TimedScope timed(seconds_);
  const Verdict valid = verdict_of([&] {
    for (const LoadedShard& shard : shards) check_shard(shard);
  });
  agree_on_settings(comm_, wanted_hash(shards), "the tensors to load", valid);
  as_damage([&] {
    for (const LoadedShard& shard : shards) load_tensor(shard);
  });
}

void GenerationReader::load_tensor(const LoadedShard& shard) const {
  const DatasetRecord& record = dataset(shard.name);
  const auto rows = std::visit([](const auto& view) { return shard_rows(view); }, shard.rows);
  std::unique_ptr<GranuleExchange> exchange;
  together(comm_, [&] { exchange = std::make_unique<GranuleExchange>(comm_, shard.layout, record.granules()); });
  const GranuleCheck check(*file_, record);
  Verdict verdict;
  exchange->hand_out(rows, [&](std::int64_t g, std::span<std::byte> bytes) {
    if (verdict.code == ExitCode::done) verdict = verdict_of([&] { check.read(g, bytes); });
  });
  agree(comm_, verdict);
}

void GenerationReader::load_rows(const std::string& name, std::span<const Piece> pieces, const TensorView& to) {
  const TimedScope timed(seconds_);
  const Verdict valid = verdict_of([&] {
    const DatasetRecord& record = dataset(name);
    const std::int64_t seq = record.space().seq;
    check_fit(record, to, seq, path_);
    for (const Piece& piece : pieces) {
      const bool inside = piece.pos >= 0 && piece.rows >= 0 && piece.rows <= seq - piece.pos;
      if (!inside || piece.row < 0 || piece.rows > to.rows - piece.row) {
        throw UsageError(fmt::format("positions {} to {} of '{}' are not all there, or have no rows; try pieces within",
                                     piece.pos, piece.pos + piece.rows, name));
      }
    }
  });
  agree_on_settings(comm_, hash_of(name), "the tensor to load", valid);
  as_damage([&] { together(comm_, [&] { read_rows(dataset(name), pieces, to); }); });
}

void GenerationReader::read_rows(const DatasetRecord& record, std::span<const Piece> pieces,
                                 const TensorView& to) const {
  const Granules granules = record.granules();
  const RowSpace& space = granules.space();
  const ShardRows<std::byte> rows = shard_rows(to);
  GranuleCheck check(*file_, record);
  std::int64_t in_hand = -1;
  std::span<const std::byte> bytes;
  for (std::int64_t line = 0; line < space.lines; ++line) {
    for (const Piece& piece : pieces) {
      for (std::int64_t done = 0; done < piece.rows;) {
        const std::int64_t from = line * space.seq + piece.pos + done;
        const std::int64_t g = from / granules.granule_rows();
        if (g != in_hand) bytes = check.read(g);
        in_hand = g;
        const std::int64_t count = std::min(piece.rows - done, granules.begin(g) + granules.rows(g) - from);
        unpack(bytes.data() + (from - granules.begin(g)) * space.row_bytes, rows, line, piece.row + done, count);
        done += count;
      }
    }
  }
}

std::vector<std::string> GenerationReader::own_damage(std::size_t most) const {
  std::vector<std::string> found;
  const auto look = [&](auto&& read) {
    const Verdict verdict = verdict_of(read);
    if (verdict.code == ExitCode::done) return;
    if (verdict.code != ExitCode::input) throw_error(verdict.code, verdict.message);
    if (found.size() < most) found.push_back(verdict.message);
  };
  std::int64_t turn = 0;
  for (const DatasetRecord& record : manifest_.datasets) {
    GranuleCheck check(*file_, record);
    for (std::int64_t g = 0; g < record.granules().count(); ++g) {
      if (turn++ % comm_.size() == comm_.rank()) look([&] { check.read(g); });
    }
  }
  return found;
}

namespace {

/// Collective. All ranks' lines on rank 0, nothing elsewhere.
std::vector<std::string> gather_lines(const Communicator& comm, const std::string& own) {
  const auto sizes = comm.all_gather(own.size());
  if (comm.rank() != 0) {
    if (!own.empty()) comm.send(std::as_bytes(std::span(own)), 0, damage_tag);
    return {};
  }
  std::string all = own;
  for (int rank = 1; rank < comm.size(); ++rank) {
    std::string text(sizes[static_cast<std::size_t>(rank)], '\0');
    if (!text.empty()) comm.receive(std::as_writable_bytes(std::span(text)), rank, damage_tag);
    all += text;
  }
  return lines_of(all);
}

}  // namespace

std::vector<std::string> GenerationReader::find_damage(std::size_t most) const {
  std::string own;
  together(comm_, [&] {
    std::vector<std::string> found = own_damage(most);
    // HDF5 is asked last: it can crash on a damaged file
    if (found.empty() && comm_.rank() == 0) {
      const Verdict view = verdict_of([&] { check_hdf5_view(file_->path(), manifest_); });
      if (view.code != ExitCode::done) found.push_back(view.message);
    }
    for (const std::string& line : found) own += line + "\n";
  });
  return gather_lines(comm_, own);
}

}  // namespace annulus::checkpoint
