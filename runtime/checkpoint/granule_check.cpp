/// Checksums against bytes, and words for what differs.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/granule_check.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <memory>

#include "kernels/base/error.hpp"

namespace annulus::checkpoint {
namespace {

std::string line_text(const DatasetRecord& dataset, std::int64_t line) {
  if (dataset.row_axis == 1) return fmt::format("batch {}", line);
  return fmt::format("batch {} head {}", line / dataset.shape[1], line % dataset.shape[1]);
}

std::uint64_t checksum_in(const DataFile& file, std::uint64_t offset, std::uint64_t bytes) {
  const std::unique_ptr<XXH64_state_t, decltype(&XXH64_freeState)> state(XXH64_createState(), &XXH64_freeState);
  if (!state || XXH64_reset(state.get(), 0) != XXH_OK) throw ResourceError("cannot start a checksum (out of memory)");
  const Buffer<std::byte> buffer(std::int64_t{1} << 20);
  for (std::uint64_t done = 0; done < bytes;) {
    const auto piece = buffer.span().first(std::min<std::uint64_t>(bytes - done, buffer.span().size()));
    file.read(offset + done, piece);
    XXH64_update(state.get(), piece.data(), piece.size());
    done += piece.size();
  }
  return XXH64_digest(state.get());
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

void GranuleCheck::read(std::int64_t g, std::span<std::byte> to) const {
  const Granules granules = dataset_.granules();
  const std::uint64_t offset = dataset_.offset + static_cast<std::uint64_t>(granules.offset(g));
  file_.read(offset, to);
  if (checksum_of(to) == dataset_.checksums[static_cast<std::size_t>(g)]) return;
  throw InputError(fmt::format("/{} in '{}' is damaged: {} (bytes {} to {} of the file) differ from their checksum",
                               dataset_.name, file_.path(), rows_text(dataset_, g), offset, offset + to.size() - 1));
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
    if (checksum_in(file, piece.offset, piece.bytes) == piece.checksum) continue;
    throw InputError(fmt::format("'{}' is damaged: bytes {} to {}, which describe its tensors, differ from their checksum",
                                 file.path(), piece.offset, piece.offset + piece.bytes - 1));
  }
}

}  // namespace annulus::checkpoint
