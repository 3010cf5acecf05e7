/// Reserve, write, sync, verify, publish; the ranks agree after each.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/generation_writer.hpp"

#include <sstream>

#include "kernels/base/buffer.hpp"
#include "kernels/base/checked.hpp"
#include "runtime/checkpoint/granule_check.hpp"
#include "runtime/checkpoint/granule_exchange.hpp"
#include "runtime/checkpoint/hdf5_image.hpp"
#include "runtime/comm/agreement.hpp"

namespace annulus::checkpoint {
namespace {

std::uint64_t payload_bytes(const Manifest& manifest) {
  std::int64_t bytes = 0;
  for (const DatasetRecord& dataset : manifest.datasets) {
    if (__builtin_add_overflow(bytes, dataset.space().bytes(), &bytes)) {
      throw ResourceError("the tensors to save do not fit 63 bits; try smaller ones");
    }
  }
  return static_cast<std::uint64_t>(bytes);
}

}  // namespace

GenerationWriter::GenerationWriter(const Communicator& comm, const std::string& folder, Manifest manifest)
    : comm_(comm), folder_(folder), manifest_(std::move(manifest)) {}

void GenerationWriter::prepare() {
  together(comm_, [&] {
    if (comm_.rank() == 0) lay_out();
  });
  share_layout();
}

void GenerationWriter::lay_out() {
  generation_ = std::make_unique<NewGeneration>(folder_, manifest_.step);
  const DataFile file = DataFile::create(generation_->path() + "/" + data_name);
  file.reserve(payload_bytes(manifest_));  // before HDF5 sees the sizes: its own failures are worse
  const Hdf5Image image = make_image(manifest_);
  file.reserve(manifest_.file_bytes);
  for (std::size_t i = 0; i < image.metadata.size(); ++i) {
    file.write(manifest_.metadata[i].offset, image.metadata[i]);
  }
}

/// Where the file is and where its tensors lie, from rank 0 to all.
void GenerationWriter::share_layout() {
  std::ostringstream written;
  if (generation_) {
    written << manifest_.file_bytes;
    for (const DatasetRecord& dataset : manifest_.datasets) written << ' ' << dataset.offset;
  }
  std::string text = written.str();
  std::string path = generation_ ? generation_->path() : std::string();
  comm_.broadcast(text, 0);
  comm_.broadcast(path, 0);
  std::istringstream numbers(text);
  numbers >> manifest_.file_bytes;
  for (DatasetRecord& dataset : manifest_.datasets) numbers >> dataset.offset;
  together(comm_, [&] { file_ = std::make_unique<DataFile>(DataFile::open_to_write(path + "/" + data_name)); });
}

void GenerationWriter::write(std::span<const SavedShard> shards) {
  for (std::size_t i = 0; i < shards.size(); ++i) {
    layouts_.push_back(shards[i].layout);
    write_tensor(shards[i], manifest_.datasets[i]);
  }
}

void GenerationWriter::write_tensor(const SavedShard& shard, DatasetRecord& dataset) const {
  const auto rows = std::visit([](const auto& view) { return shard_rows(view); }, shard.rows);
  const Granules granules = dataset.granules();
  std::unique_ptr<GranuleExchange> exchange;
  together(comm_, [&] {
    dataset.checksums.assign(static_cast<std::size_t>(granules.count()), 0);
    exchange = std::make_unique<GranuleExchange>(comm_, shard.layout, granules);
  });
  Verdict verdict;
  exchange->collect(rows, [&](std::int64_t g, std::span<const std::byte> bytes) {
    if (verdict.code != ExitCode::done) return;
    dataset.checksums[static_cast<std::size_t>(g)] = checksum_of(bytes);
    const std::uint64_t offset = dataset.offset + static_cast<std::uint64_t>(granules.offset(g));
    verdict = verdict_of([&] { file_->write(offset, bytes); });
    file_->has_written(offset, bytes.size());
  });
  agree(comm_, verdict);
}

void GenerationWriter::sync() {
  together(comm_, [&] { file_->sync(); });
  file_->drop_cache();
}

void GenerationWriter::verify() {
  together(comm_, [&] {
    try {
      for (std::size_t i = 0; i < layouts_.size(); ++i) verify_tensor(manifest_.datasets[i], layouts_[i]);
      if (comm_.rank() == 0) check_metadata(*file_, manifest_);
    } catch (const InputError& error) {
      throw ResourceError(std::string(error.what()) +
                          " right after writing (the disk may be failing); try another one");
    }
  });
}

void GenerationWriter::verify_tensor(const DatasetRecord& dataset, const Layout& layout) const {
  const Granules granules = dataset.granules();
  GranuleCheck check(*file_, dataset);
  for (std::int64_t g = 0; g < granules.count(); ++g) {
    if (keeper(granules, layout, g) == comm_.rank()) check.read(g);
  }
}

std::string GenerationWriter::publish() {
  // Each checksum is known to its keeper and zero elsewhere.
  for (DatasetRecord& dataset : manifest_.datasets) comm_.sum(dataset.checksums);
  file_.reset();
  std::string path;
  together(comm_, [&] {
    if (!generation_) return;
    generation_->publish(manifest_);
    path = generation_->published_path();
  });
  comm_.broadcast(path, 0);
  return path;
}

}  // namespace annulus::checkpoint
