/// Saves and loads in turns with plain calls.
// SPDX-License-Identifier: Apache-2.0
#include "launch/bench/io.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "kernels/base/buffer.hpp"
#include "kernels/base/stopwatch.hpp"
#include "launch/memory.hpp"
#include "launch/table.hpp"
#include "runtime/checkpoint/checkpoint.hpp"
#include "runtime/checkpoint/data_file.hpp"
#include "runtime/comm/agreement.hpp"

namespace annulus::launch {
namespace {

using checkpoint::DataFile;

constexpr std::int64_t width = 4096;
constexpr std::int64_t row_bytes = width * 4;  ///< f32
constexpr std::int64_t row_words = row_bytes / 8;

/// Collective. Seconds of the slowest rank from a common start.
template <class Work>
double timed(const Communicator& comm, Work&& work) {
  comm.barrier();
  const Stopwatch watch;
  const Verdict verdict = verdict_of(work);
  std::array<double, 1> seconds{watch.seconds()};
  agree(comm, verdict);
  comm.max(seconds);
  return seconds[0];
}

/// A new folder, made and removed by rank 0. Construction is collective.
class ScratchFolder {
 public:
  ScratchFolder(const Communicator& comm, const std::string& parent) : comm_(comm) {
    std::string path = parent + "/annulus-bench-XXXXXX";
    together(comm, [&] {
      if (comm.rank() != 0 || mkdtemp(path.data()) != nullptr) return;
      throw ResourceError(fmt::format("cannot make a folder in '{}' ({}); try another folder", parent,
                                      std::strerror(errno)));
    });
    comm.broadcast(path, 0);
    path_ = path;
  }
  ~ScratchFolder() { remove(path_); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  std::string operator/(const char* name) const { return path_ + "/" + name; }
  /// Frees the blocks now: else a journal does so while the next file is timed.
  void remove(const std::string& path) const {
    if (comm_.rank() != 0) return;
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
    const checkpoint::Descriptor folder(open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (folder.get() >= 0) static_cast<void>(fsync(folder.get()));
  }

 private:
  const Communicator& comm_;
  std::string path_;
};

struct Seconds {
  double write = 0;
  double read = 0;
  double verify = 0;
};

class IoBench {
 public:
  /// Collective.
  IoBench(const Communicator& comm, const IoShape& shape)
      : comm_(comm),
        folder_(comm, shape.folder),
        layout_(shape.layout, shape.bytes_per_rank / row_bytes * comm.size(), comm.size()) {
    together(comm, [&] {
      // a disk without room shows here, before the first sample
      if (comm.rank() == 0) DataFile::create(plain_path()).reserve(static_cast<std::uint64_t>(bytes()));
      shard_ = Buffer<std::byte>(rows() * row_bytes);
      for_each_word([](std::uint64_t& word, std::uint64_t wanted) { word = wanted; });
    });
    folder_.remove(plain_path());
  }

  std::int64_t bytes() const { return layout_.seq_len() * row_bytes; }  ///< of all ranks

  Seconds plain() const {
    Seconds seconds;
    together(comm_, [&] {
      if (comm_.rank() == 0) DataFile::create(plain_path());
    });
    const auto place = static_cast<std::uint64_t>(comm_.rank()) * shard_.span().size();
    seconds.write = timed(comm_, [&] {
      const DataFile file = DataFile::open_to_write(plain_path());
      for_each_piece([&](std::size_t at, std::span<std::byte> piece) { file.write(place + at, piece); });
      file.sync();
    });
    drop_cache(plain_path());
    seconds.read = timed(comm_, [&] {
      const DataFile file = DataFile::open_to_read(plain_path());
      for_each_piece([&](std::size_t at, std::span<std::byte> piece) { file.read(place + at, piece); });
    });
    comm_.barrier();
    folder_.remove(plain_path());
    return seconds;
  }

  Seconds checkpoint() const {
    Checkpoint checkpoint(comm_.raw(), folder_ / "checkpoint", {.keep = 1});
    checkpoint.claim();
    const TensorView rows = dense_view(shard_.data(), DType::f32, 1, this->rows(), 1, width);
    const SavedShard saved{"x", layout_, ConstTensorView(rows)};
    const SaveReport report = checkpoint.save({.step = 1}, {&saved, 1});
    drop_cache(report.path + "/activations.h5");
    shard_.clear();
    const LoadedShard loaded{"x", layout_, rows};
    const double read = timed(comm_, [&] { static_cast<void>(checkpoint.load({&loaded, 1})); });
    folder_.remove(report.path);
    check_loaded();
    return {report.seconds - report.verify_seconds, read, report.verify_seconds};
  }

 private:
  std::int64_t rows() const { return layout_.rows(comm_.rank()); }
  std::string plain_path() const { return folder_ / "plain"; }

  template <class Visit>
  void for_each_piece(Visit&& visit) const {
    constexpr std::size_t piece = std::size_t{16} << 20;
    const std::span<std::byte> shard = shard_.span();
    for (std::size_t at = 0; at < shard.size(); at += piece) {
      visit(at, shard.subspan(at, std::min(piece, shard.size() - at)));
    }
  }

  /// Calls visit(word of the shard, what it should be): a function of its place in the whole tensor.
  template <class Visit>
  void for_each_word(Visit&& visit) const {
    auto* word = reinterpret_cast<std::uint64_t*>(shard_.data());
    for (std::int64_t row = 0; row < rows(); ++row) {
      const auto first = static_cast<std::uint64_t>(layout_.position(comm_.rank(), row) * row_words);
      for (std::int64_t i = 0; i < row_words; ++i, ++word) {
        visit(*word, (first + static_cast<std::uint64_t>(i)) * 0x9e3779b97f4a7c15U);
      }
    }
  }

  void drop_cache(const std::string& path) const {
    together(comm_, [&] { DataFile::open_to_read(path).drop_cache(); });
  }

  void check_loaded() const {
    std::uint64_t wrong = 0;
    for_each_word([&](const std::uint64_t& word, std::uint64_t wanted) { wrong += word != wanted ? 1 : 0; });
    together(comm_, [&] {
      if (wrong == 0) return;
      throw Error(ExitCode::verification,
                  fmt::format("{} of {} words loaded are not those saved (8 bytes each)", wrong, shard_.size() / 8));
    });
  }

  const Communicator& comm_;
  ScratchFolder folder_;
  Layout layout_;
  Buffer<std::byte> shard_;
};

void add(IoRate& rate, double bytes, double seconds, double plain_seconds) {
  rate.rate.add(bytes / seconds);
  rate.plain.add(bytes / plain_seconds);
  rate.fraction.add(plain_seconds / seconds);
}

}  // namespace

std::uint64_t io_bench_bytes(std::int64_t bytes_per_rank) {
  constexpr std::int64_t staging = std::int64_t{64} << 20;  // granules in hand and rows on their way
  return static_cast<std::uint64_t>(bytes_per_rank) + static_cast<std::uint64_t>(staging);
}

IoRates measure_io(const Communicator& world, const IoShape& shape, std::int64_t samples) {
  const IoBench bench(world, shape);
  IoRates rates{.shape = shape, .ranks = world.size()};
  const auto bytes = static_cast<double>(bench.bytes());
  for (std::int64_t i = 0; i < samples; ++i) {
    const bool plain_first = i % 2 == 0;
    Seconds plain;
    if (plain_first) plain = bench.plain();
    const Seconds own = bench.checkpoint();
    if (!plain_first) plain = bench.plain();
    add(rates.directions[0], bytes, own.write, plain.write);
    add(rates.directions[1], bytes, own.read, plain.read);
    add(rates.directions[2], bytes, own.verify, plain.read);
  }
  return rates;
}

std::string io_table(const std::vector<IoRates>& rates) {
  const auto gigabytes = [](const Samples& rate) { return fmt::format("{:.2f} GB/s", 1e-9 * rate.median()); };
  Table table({"checkpoint", "ranks", "per rank", "layout", "rate", "plain", "of plain", "p10..p90"});
  for (const IoRates& measured : rates) {
    for (const IoRate& way : measured.directions) {
      table.add({std::string(way.direction), std::to_string(measured.ranks),
                 bytes_text(static_cast<double>(measured.shape.bytes_per_rank)),
                 std::string(name(measured.shape.layout)), gigabytes(way.rate), gigabytes(way.plain),
                 fmt::format("{:.1f} %", 100 * way.fraction.median()),
                 fmt::format("{:.1f}..{:.1f}", 100 * way.fraction.quantile(0.1), 100 * way.fraction.quantile(0.9))});
    }
  }
  return table.text();
}

Json io_to_json(const std::vector<IoRates>& rates) {
  Json entries = Json::array();
  for (const IoRates& measured : rates) {
    for (const IoRate& way : measured.directions) {
      entries.push_back({{"direction", way.direction},
                         {"ranks", measured.ranks},
                         {"bytes_per_rank", measured.shape.bytes_per_rank},
                         {"layout", name(measured.shape.layout)},
                         {"bytes_per_second", way.rate.median()},
                         {"plain_bytes_per_second", way.plain.median()},
                         {"fraction", way.fraction.median()},
                         {"fraction_p10", way.fraction.quantile(0.1)},
                         {"fraction_p90", way.fraction.quantile(0.9)}});
    }
  }
  return entries;
}

}  // namespace annulus::launch
