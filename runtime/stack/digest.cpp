/// Streams a sharded tensor through rank 0's hash.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/digest.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "kernels/base/buffer.hpp"
#include "runtime/comm/agreement.hpp"

namespace annulus::stack {
namespace {
constexpr int digest_tag = 71;

class Hash {
 public:
  Hash() : state_(XXH64_createState()) {
    if (!state_ || XXH64_reset(state_.get(), 0) != XXH_OK) throw ResourceError("cannot start a hash (out of memory)");
  }
  void add(std::span<const std::byte> bytes) { XXH64_update(state_.get(), bytes.data(), bytes.size()); }
  std::string hex() const { return fmt::format("{:016x}", XXH64_digest(state_.get())); }

 private:
  struct Free {
    void operator()(XXH64_state_t* state) const { XXH64_freeState(state); }
  };
  std::unique_ptr<XXH64_state_t, Free> state_;
};

/// Positions [begin, end): on every rank a run of rows.
struct Window {
  std::int64_t begin;
  std::int64_t end;
};

/// The windows of one batch in order, and what each rank has of them.
struct Stream {
  const Communicator& comm;
  const Layout& layout;
  std::int64_t row_bytes;

  std::int64_t first_row(int rank, Window window) const { return layout.rows_before(rank, window.begin); }
  std::size_t bytes(int rank, Window window) const {
    return static_cast<std::size_t>((layout.rows_before(rank, window.end) - first_row(rank, window)) * row_bytes);
  }
  std::span<const std::byte> own(std::span<const std::byte> batch_rows, Window window) const {
    const auto first = static_cast<std::size_t>(first_row(comm.rank(), window) * row_bytes);
    return batch_rows.subspan(first, bytes(comm.rank(), window));
  }
  /// Puts one rank's rows where their positions belong.
  void place(int rank, Window window, const std::byte* rows, std::byte* ordered) const {
    const std::int64_t first = first_row(rank, window);
    const std::int64_t count = layout.rows_before(rank, window.end) - first;
    for (std::int64_t row = 0; row < count; ++row) {
      const std::int64_t pos = layout.position(rank, first + row) - window.begin;
      std::memcpy(ordered + pos * row_bytes, rows + row * row_bytes, static_cast<std::size_t>(row_bytes));
    }
  }
};

/// Rank 0's side.
class Collector {
 public:
  Collector(const Stream& stream, std::int64_t window_rows)
      : stream_(stream), arrived_(window_rows * stream.row_bytes), ordered_(window_rows * stream.row_bytes) {}

  void add(std::span<const std::byte> own, Window window) {
    stream_.place(0, window, own.data(), ordered_.data());
    for (int rank = 1; rank < stream_.comm.size(); ++rank) {
      const std::size_t bytes = stream_.bytes(rank, window);
      if (bytes == 0) continue;
      stream_.comm.receive(arrived_.span().first(bytes), rank, digest_tag);
      stream_.place(rank, window, arrived_.data(), ordered_.data());
    }
    hash_.add(ordered_.span().first(static_cast<std::size_t>((window.end - window.begin) * stream_.row_bytes)));
  }
  std::string hex() const { return hash_.hex(); }

 private:
  const Stream& stream_;
  Buffer<std::byte> arrived_;
  Buffer<std::byte> ordered_;
  Hash hash_;
};
}  // namespace

std::string digest(const Communicator& comm, const Layout& layout, std::int64_t batch, std::int64_t row_bytes,
                   std::span<const std::byte> rows, std::int64_t window_bytes) {
  const Stream stream{comm, layout, row_bytes};
  const std::int64_t window_rows = std::clamp<std::int64_t>(window_bytes / row_bytes, 1, layout.seq_len());
  std::unique_ptr<Collector> collector;
  together(comm, [&] {
    if (comm.rank() == 0) collector = std::make_unique<Collector>(stream, window_rows);
  });
  const auto batch_bytes = static_cast<std::size_t>(layout.rows(comm.rank()) * row_bytes);
  for (std::int64_t b = 0; b < batch; ++b) {
    const auto batch_rows = rows.subspan(static_cast<std::size_t>(b) * batch_bytes, batch_bytes);
    for (std::int64_t pos = 0; pos < layout.seq_len(); pos += window_rows) {
      const Window window{pos, std::min(pos + window_rows, layout.seq_len())};
      const auto own = stream.own(batch_rows, window);
      if (collector) {
        collector->add(own, window);
      } else if (!own.empty()) {
        comm.send(own, 0, digest_tag);
      }
    }
  }
  std::string hex = collector ? collector->hex() : std::string();
  comm.broadcast(hex, 0);
  return hex;
}

}  // namespace annulus::stack
