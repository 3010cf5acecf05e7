/// Events of the device tell when a chunk may be sent, and when it may be received into again.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/device/staged_mover.hpp"

#include <vector>

#include "runtime/comm/transfer_plan.hpp"
#include "runtime/device/passage.hpp"

namespace annulus {
namespace {

using kernels::cuda::Device;
using kernels::cuda::DeviceEvent;

/// Pinned memory, and the last copy from or to it.
class Chunk {
 public:
  Chunk(Device& device, std::int64_t bytes)
      : copied(device), device_(device), memory_(static_cast<std::byte*>(device.allocate_pinned(bytes))) {}
  ~Chunk() { device_.release_pinned(memory_); }
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;
  std::byte* data() const { return memory_; }

  DeviceEvent copied;

 private:
  Device& device_;
  std::byte* memory_;
};

/// Chunks are kept. Outlives those it lends.
class ChunkPool {
 public:
  ChunkPool(Device& device, std::int64_t chunk_bytes) : device_(device), chunk_bytes_(chunk_bytes) {}
  /// A copy may still be under way: nobody waits for it before the end.
  ~ChunkPool() {
    for (const auto& chunk : chunks_) {
      while (!is_idle(*chunk)) {
      }
    }
  }

  Chunk& take() {
    for (auto chunk = free_.begin(); chunk != free_.end(); ++chunk) {
      if (!(*chunk)->copied.passed()) continue;
      Chunk& found = **chunk;
      free_.erase(chunk);
      return found;
    }
    return *chunks_.emplace_back(std::make_unique<Chunk>(device_, chunk_bytes_));
  }
  void give(Chunk& chunk) { free_.push_back(&chunk); }

 private:
  /// A device that has failed copies no more.
  static bool is_idle(const Chunk& chunk) noexcept {
    try {
      return chunk.copied.passed();
    } catch (const Error&) {
      return true;
    }
  }

  Device& device_;
  std::int64_t chunk_bytes_;
  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::deque<Chunk*> free_;
};

struct Means {
  Device& device;
  const Communicator& comm;
  ChunkPool& chunks;
  Staging staging;
};

std::vector<TransferRuns> pieces_of(std::span<const kernels::ByteRun> runs, const Staging& staging) {
  return plan_transfer(runs, static_cast<std::uint64_t>(staging.chunk_bytes));
}

class Departure final : public Passage {
 public:
  Departure(const Means& means, kernels::cuda::Line line, const std::byte* array, std::span<const kernels::ByteRun> runs,
            const Channel& channel)
      : Passage(channel, sum_of(runs)), means_(means), line_(line), array_(array), pieces_(pieces_of(runs, means.staging)) {}

  std::size_t messages() const { return pieces_.size(); }
  bool started_all() const override { return sent_ == pieces_.size(); }
  bool is_over() const override { return started_all() && under_way_.empty(); }
  void move_on(bool may_start) override {
    while (copied_ < pieces_.size() && under_way_.size() < means_.staging.depth) copy_next();
    while (may_start && sent_ < copied_ && send_next()) {
    }
    while (!under_way_.empty() && sent_ > copied_ - under_way_.size() && under_way_.front().message.test()) {
      means_.chunks.give(*under_way_.front().chunk);
      under_way_.pop_front();
    }
  }

 private:
  struct Piece {
    Chunk* chunk;
    Transfer message;
  };

  void copy_next() {
    Chunk& chunk = means_.chunks.take();
    std::byte* to = chunk.data();
    for (const kernels::ByteRun& run : pieces_[copied_]) {
      means_.device.copy(line_, to, array_ + run.offset, static_cast<std::int64_t>(run.bytes));
      to += run.bytes;
    }
    chunk.copied.record(line_);
    under_way_.push_back({&chunk, {}});
    ++copied_;
  }

  /// False as long as the oldest one that has not been sent is still being copied.
  bool send_next() {
    Piece& piece = under_way_[under_way_.size() - (copied_ - sent_)];
    if (!piece.chunk->copied.passed()) return false;
    piece.message =
        Transfer::send(means_.comm, {piece.chunk->data(), sum_of(pieces_[sent_])}, channel().peer, channel().tag);
    ++sent_;
    return true;
  }

  Means means_;
  kernels::cuda::Line line_;
  const std::byte* array_;
  std::vector<TransferRuns> pieces_;
  std::size_t copied_ = 0;
  std::size_t sent_ = 0;
  std::deque<Piece> under_way_;  ///< the pieces before copied_
};

class Arrival final : public Passage {
 public:
  Arrival(const Means& means, kernels::cuda::Line line, std::byte* array, std::span<const kernels::ByteRun> runs,
          const Channel& channel)
      : Passage(channel, sum_of(runs)), means_(means), line_(line), array_(array), pieces_(pieces_of(runs, means.staging)) {}

  std::size_t messages() const { return pieces_.size(); }
  bool started_all() const override { return awaited_ == pieces_.size(); }
  /// The last copies may still be under way on the line.
  bool is_over() const override { return landed_ == pieces_.size(); }
  void move_on(bool may_start) override {
    while (may_start && !started_all() && has_room()) receive_next();
    while (landed_ < awaited_ && coming_.front().message.test()) land_next();
    if (is_over()) give_back();
  }

 private:
  struct Piece {
    Chunk* chunk;
    Transfer message;
  };

  bool has_room() {
    const auto full = [this] { return coming_.size() + landing_.size() >= means_.staging.depth; };
    while (full() && !landing_.empty() && landing_.front()->copied.passed()) {
      means_.chunks.give(*landing_.front());
      landing_.pop_front();
    }
    return !full();
  }

  void receive_next() {
    Chunk& chunk = means_.chunks.take();
    coming_.push_back({&chunk, Transfer::receive(means_.comm, {chunk.data(), sum_of(pieces_[awaited_])}, channel().peer,
                                                 channel().tag)});
    ++awaited_;
  }

  void land_next() {
    Chunk& chunk = *coming_.front().chunk;
    coming_.pop_front();
    const std::byte* from = chunk.data();
    for (const kernels::ByteRun& run : pieces_[landed_]) {
      means_.device.copy(line_, array_ + run.offset, from, static_cast<std::int64_t>(run.bytes));
      from += run.bytes;
    }
    chunk.copied.record(line_);
    landing_.push_back(&chunk);
    ++landed_;
  }

  void give_back() {
    for (Chunk* const chunk : landing_) means_.chunks.give(*chunk);
    landing_.clear();
  }

  Means means_;
  kernels::cuda::Line line_;
  std::byte* array_;
  std::vector<TransferRuns> pieces_;
  std::size_t awaited_ = 0;
  std::size_t landed_ = 0;
  std::deque<Piece> coming_;
  std::deque<Chunk*> landing_;  ///< a copy of theirs may be under way
};

class StagedMover final : public Mover {
 public:
  StagedMover(Device& device, const Communicator& comm, Staging staging)
      : chunks_(device, staging.chunk_bytes), means_{device, comm, chunks_, staging}, passages_(comm) {}

  Journey send(const Lane& lane, const std::byte* array, Runs runs, int to, int tag) override {
    return begin(std::make_shared<Departure>(means_, lane.out, array, runs, Channel{false, to, tag}));
  }
  Journey receive(const Lane& lane, std::byte* array, Runs runs, int from, int tag) override {
    return begin(std::make_shared<Arrival>(means_, lane.in, array, runs, Channel{true, from, tag}));
  }

 private:
  template <class Kind>
  Journey begin(std::shared_ptr<Kind> passage) {
    const std::size_t messages = passage->messages();
    return passages_.begin(std::move(passage), messages);
  }

  ChunkPool chunks_;
  Means means_;
  Passages passages_;
};

}  // namespace

std::unique_ptr<Mover> staged_mover(Device& device, const Communicator& comm, Staging staging) {
  return std::make_unique<StagedMover>(device, comm, staging);
}

}  // namespace annulus
