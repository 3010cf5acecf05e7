/// Checksums against bytes, and words for what differs.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/granule_check.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/base/error.hpp"

namespace annulus::checkpoint {
namespace {

std::string line_text(const DatasetRecord& dataset, std::int64_t line) {
  if (dataset.row_axis == 1) return fmt::format("batch {}", line);
  return fmt::format("batch {} head {}", line / dataset.shape[1], line % dataset.shape[1]);
}

/// Reads in pieces: while one is hashed, still in the cache, the kernel reads ahead. Two ranks at a disk of 2.8
/// GB/s: 2.4 GB/s instead of 2.0 with whole granules (advice about the next granule, POSIX_FADV_WILLNEED, made it 1.6).
std::uint64_t read_and_hash(const DataFile& file, std::uint64_t offset, std::span<std::byte> to) {
  constexpr std::size_t piece = std::size_t{256} << 10;
  StreamedChecksum checksum;
  for (std::size_t done = 0; done < to.size(); done += piece) {
    const auto bytes = to.subspan(done, std::min(piece, to.size() - done));
    file.read(offset + done, bytes);
    checksum.add(bytes);
  }
  return checksum.value();
}

/// Without memory for all of it: pieces of metadata may be as long as a file says.
std::uint64_t hash(const DataFile& file, const MetadataRecord& piece) {
  StreamedChecksum checksum;
  const Buffer<std::byte> buffer(std::int64_t{1} << 20);
  for (std::uint64_t done = 0; done < piece.bytes; done += buffer.span().size()) {
    const auto bytes = buffer.span().first(std::min<std::uint64_t>(piece.bytes - done, buffer.span().size()));
    file.read(piece.offset + done, bytes);
    checksum.add(bytes);
  }
  return checksum.value();
}

}  // namespace

std::string rows_text(const DatasetRecord& dataset, std::int64_t g) {
  const Granules granules = dataset.granules();
  const std::int64_t seq = granules.space().seq;
  const std::int64_t first = granules.begin(g);
  const std::int64_t last = first + granules.rows(g) - 1;
  if (first / seq == last / seq) {
    return fmt::format("rows {} to {} of {}", first % seq, last % seq, line_text(dataset, first / seq));
  }
  return fmt::format("row {} of {} to row {} of {}", first % seq, line_text(dataset, first / seq), last % seq,
                     line_text(dataset, last / seq));
}

std::uint64_t GranuleCheck::offset(std::int64_t g) const {
  return dataset_.offset + static_cast<std::uint64_t>(dataset_.granules().offset(g));
}

void GranuleCheck::read(std::int64_t g, std::span<std::byte> to) const {
  if (read_and_hash(file_, offset(g), to) == dataset_.checksums[static_cast<std::size_t>(g)]) return;
  throw InputError(fmt::format("/{} in '{}' is damaged: {} (bytes {} to {} of the file) differ from their checksum",
                               dataset_.name, file_.path(), rows_text(dataset_, g), offset(g),
                               offset(g) + to.size() - 1));
}

std::span<const std::byte> GranuleCheck::read(std::int64_t g) {
  const Granules granules = dataset_.granules();
  if (own_.size() == 0) own_ = Buffer<std::byte>(granules.bytes(0));
  const auto bytes = own_.span().first(static_cast<std::size_t>(granules.bytes(g)));
  read(g, bytes);
  return bytes;
}

void check_metadata(const DataFile& file, const Manifest& manifest) {
  for (const MetadataRecord& piece : manifest.metadata) {
    if (hash(file, piece) == piece.checksum) continue;
    throw InputError(
        fmt::format("'{}' is damaged: bytes {} to {}, which describe its tensors, differ from their checksum",
                    file.path(), piece.offset, piece.offset + piece.bytes - 1));
  }
}

}  // namespace annulus::checkpoint
