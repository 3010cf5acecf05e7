/// What saving and loading reach of plain parallel pwrite + fsync and pread of the same bytes on the same disk.
/// Usage: mpirun -n P checkpoint_bench FOLDER [MIB PER RANK] [REPETITIONS]
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>

#include "kernels/base/buffer.hpp"
#include "runtime/checkpoint/checkpoint.hpp"
#include "runtime/checkpoint/data_file.hpp"
#include "runtime/comm/session.hpp"

namespace {

using annulus::Buffer;
using annulus::Checkpoint;
using annulus::Communicator;
using annulus::DType;
using annulus::Layout;
using annulus::LayoutKind;
using annulus::checkpoint::DataFile;

constexpr std::int64_t piece = std::int64_t{16} << 20;
constexpr std::int64_t width = 4096;

/// Seconds of the slowest rank from a common start.
double timed(const Communicator& comm, const std::function<void()>& work) {
  comm.barrier();
  const auto start = std::chrono::steady_clock::now();
  work();
  std::array<double, 1> seconds{std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()};
  comm.max(seconds);
  return seconds[0];
}

struct Bench {
  const Communicator& comm;
  std::string folder;
  std::span<std::byte> shard;

  std::uint64_t place() const { return static_cast<std::uint64_t>(comm.rank()) * shard.size(); }
  double gigabytes() const { return 1e-9 * static_cast<double>(shard.size()) * comm.size(); }

  double plain_write(const std::string& path) const {
    if (comm.rank() == 0) DataFile::create(path);
    return timed(comm, [&] {
      const DataFile file = DataFile::open_to_write(path);
      for (std::size_t at = 0; at < shard.size(); at += piece) file.write(place() + at, shard.subspan(at, piece));
      file.sync();
    });
  }
  /// From the disk, not from memory.
  double plain_read(const std::string& path) const {
    const DataFile file = DataFile::open_to_read(path);
    file.drop_cache();
    return timed(comm, [&] {
      for (std::size_t at = 0; at < shard.size(); at += piece) file.read(place() + at, shard.subspan(at, piece));
    });
  }
};

struct Rates {
  double plain_write = 0;
  double plain_read = 0;
  double write = 0;
  double verify = 0;
  double read = 0;
};

void add_best(double& best, double gigabytes, double seconds) { best = std::max(best, gigabytes / seconds); }

void measure(const Bench& bench, LayoutKind kind, Rates& best) {
  const double gigabytes = bench.gigabytes();
  const std::string plain = bench.folder + "/plain";
  add_best(best.plain_write, gigabytes, bench.plain_write(plain));
  add_best(best.plain_read, gigabytes, bench.plain_read(plain));
  bench.comm.barrier();
  if (bench.comm.rank() == 0) unlink(plain.c_str());
  const auto rows = static_cast<std::int64_t>(bench.shard.size()) / (width * 4);
  const Layout layout(kind, rows * bench.comm.size(), bench.comm.size());
  const auto view = annulus::dense_view(bench.shard.data(), DType::f32, 1, rows, 1, width);
  Checkpoint checkpoint(bench.comm.raw(), bench.folder + "/ckpt", {.keep = 1});
  const annulus::SavedShard saved{"x", layout, annulus::ConstTensorView(view)};
  const annulus::SaveReport report = checkpoint.save({.step = 1}, {&saved, 1});
  add_best(best.write, gigabytes, report.write_seconds);
  add_best(best.verify, gigabytes, report.verify_seconds);
  DataFile::open_to_read(report.path + "/activations.h5").drop_cache();
  const annulus::LoadedShard loaded{"x", layout, view};
  add_best(best.read, gigabytes, checkpoint.load({&loaded, 1}).read_seconds);
}

}  // namespace

int main(int argc, char** argv) {
  const annulus::Session session(argc, argv);
  if (argc < 2) return 2;
  const std::int64_t bytes = (argc > 2 ? std::atol(argv[2]) : 512) << 20;
  const int repetitions = argc > 3 ? std::atoi(argv[3]) : 3;
  const Buffer<std::byte> memory(bytes);
  for (std::int64_t i = 0; i < bytes; ++i) memory[i] = static_cast<std::byte>(i * 2654435761 >> 13);
  const Bench bench{session.world(), argv[1], memory.span()};
  for (const LayoutKind kind : {LayoutKind::contiguous, LayoutKind::zigzag, LayoutKind::striped}) {
    Rates best;
    for (int i = 0; i < repetitions; ++i) measure(bench, kind, best);
    if (session.world().rank() != 0) continue;
    fmt::print(
        "{:<11} write {:.2f} of {:.2f} GB/s ({:.0f} %), read {:.2f} of {:.2f} GB/s ({:.0f} %), verify {:.2f} GB/s\n",
        name(kind), best.write, best.plain_write, 100 * best.write / best.plain_write, best.read, best.plain_read,
        100 * best.read / best.plain_read, best.verify);
  }
  return 0;
}
