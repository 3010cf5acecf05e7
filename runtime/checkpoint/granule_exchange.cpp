/// Point-to-point parcels between the owners of rows and the keepers of granules.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/granule_exchange.hpp"

#include <algorithm>
#include <cstring>
#include <future>
#include <system_error>
#include <thread>

#include "runtime/comm/transfer.hpp"

namespace annulus::checkpoint {
namespace {

constexpr int parcel_tag = 73;

void wait(std::vector<Transfer>& transfers) {
  for (Transfer& transfer : transfers) transfer.wait();
}

/// How many rows from `row` on hold consecutive positions. `first_piece` counts the rows of the shard's first piece.
std::int64_t run_length(const Layout& layout, std::int64_t first_piece, std::int64_t row, std::int64_t rows) {
  if (layout.kind() == LayoutKind::striped) return std::min(rows, layout.stripe() - row % layout.stripe());
  return row < first_piece ? std::min(rows, first_piece - row) : rows;
}

std::int64_t first_piece_rows(const Layout& layout, int rank) {
  if (layout.kind() == LayoutKind::striped || layout.rows(rank) == 0) return 0;
  return layout.pieces(rank).front().rows;
}

/// On another thread, or when asked for the result where there can be none: a rank that fails here would let others
/// wait.
template <class Work>
std::future<void> run_aside(Work work) {
  try {
    return std::async(std::launch::async, work);
  } catch (const std::system_error&) {
    return std::async(std::launch::deferred, work);
  }
}

}  // namespace

GranuleExchange::GranuleExchange(const Communicator& comm, const Layout& layout, const Granules& granules)
    : comm_(comm), layout_(layout), granules_(granules), kept_(static_cast<std::size_t>(comm.size())) {
  for (int rank = 0; rank < comm.size(); ++rank) counters_.push_back(layout.row_counter(rank));
  for (std::int64_t g = 0; g < granules.count(); ++g) {
    kept_[static_cast<std::size_t>(keeper(granules, layout, g))].push_back(g);
  }
  for (const auto& kept : kept_) rounds_ = std::max(rounds_, static_cast<std::int64_t>(kept.size()));
  for (auto& memory : granule_) memory = Buffer<std::byte>(granules.count() > 0 ? granules.bytes(0) : 0);
  size_travel_memory();
}

/// Before the rounds: a rank that runs out of memory in one of them would leave the others waiting.
void GranuleExchange::size_travel_memory() {
  std::int64_t own = 0;
  std::int64_t foreign = 0;
  for (std::int64_t round = 0; round < rounds_; ++round) {
    std::int64_t leaving = 0;
    for (int rank = 0; rank < comm_.size(); ++rank) {
      const auto g = kept_by(rank, round);
      if (g && rank != comm_.rank()) leaving += share(comm_.rank(), *g);
    }
    own = std::max(own, leaving);
    if (const auto g = granule(round)) foreign = std::max(foreign, granules_.bytes(*g) - share(comm_.rank(), *g));
  }
  for (auto& memory : own_) memory = Buffer<std::byte>(own);
  for (auto& memory : foreign_) memory = Buffer<std::byte>(foreign);
}

std::optional<std::int64_t> GranuleExchange::kept_by(int rank, std::int64_t round) const {
  const auto& kept = kept_[static_cast<std::size_t>(rank)];
  if (round >= static_cast<std::int64_t>(kept.size())) return std::nullopt;
  return kept[static_cast<std::size_t>(round)];
}

std::int64_t GranuleExchange::share(int rank, std::int64_t g) const {
  const Layout::RowCounter& counter = counters_[static_cast<std::size_t>(rank)];
  std::int64_t rows = 0;
  granules_.for_each_segment(g, [&](const Segment& segment) {
    rows += counter.rows_before(segment.end) - counter.rows_before(segment.begin);
  });
  return rows * granules_.space().row_bytes;
}

template <class F>
void GranuleExchange::for_each_run(int rank, std::int64_t g, F&& f) const {
  const std::int64_t first_piece = first_piece_rows(layout_, rank);
  const Layout::RowCounter& counter = counters_[static_cast<std::size_t>(rank)];
  granules_.for_each_segment(g, [&](const Segment& segment) {
    const std::int64_t end = counter.rows_before(segment.end);
    for (std::int64_t row = counter.rows_before(segment.begin); row < end;) {
      const std::int64_t rows = run_length(layout_, first_piece, row, end - row);
      f(Run{segment.line, row, rows, granules_.place(g, segment.line, layout_.position(rank, row))});
      row += rows;
    }
  });
}

template <class F>
void GranuleExchange::for_each_run(int rank, const Parcel& parcel, F&& f) const {
  std::byte* bytes = parcel.memory.data();
  for_each_run(rank, parcel.granule, [&](const Run& run) {
    f(run, bytes);
    bytes += bytes_of(run);
  });
}

std::vector<GranuleExchange::Parcel> GranuleExchange::own_parcels(std::int64_t round) const {
  std::vector<Parcel> parcels;
  std::span<std::byte> free = own_[slot(round)].span();
  for (int rank = 0; rank < comm_.size(); ++rank) {
    const auto g = kept_by(rank, round);
    if (!g || rank == comm_.rank()) continue;
    const auto bytes = static_cast<std::size_t>(share(comm_.rank(), *g));
    if (bytes > 0) parcels.push_back({rank, *g, free.first(bytes)});
    free = free.subspan(bytes);
  }
  return parcels;
}

std::vector<GranuleExchange::Parcel> GranuleExchange::foreign_parcels(std::int64_t round) const {
  std::vector<Parcel> parcels;
  const auto g = granule(round);
  if (!g) return parcels;
  std::span<std::byte> free = foreign_[slot(round)].span();
  for (int rank = 0; rank < comm_.size(); ++rank) {
    if (rank == comm_.rank()) continue;
    const auto bytes = static_cast<std::size_t>(share(rank, *g));
    if (bytes > 0) parcels.push_back({rank, *g, free.first(bytes)});
    free = free.subspan(bytes);
  }
  return parcels;
}

template <class Byte>
Byte* GranuleExchange::rows_in(const ShardRows<Byte>& shard, std::int64_t g) const {
  const std::int64_t seq = granules_.space().seq;
  const std::int64_t line = granules_.begin(g) / seq;
  const bool one_line = (granules_.begin(g) + granules_.rows(g) - 1) / seq == line;
  if (!one_line || !shard.dense()) return nullptr;
  const std::int64_t first_pos = granules_.begin(g) - line * seq;
  return shard.row(line, counters_[static_cast<std::size_t>(comm_.rank())].rows_before(first_pos));
}

template <class Byte>
Byte* GranuleExchange::granule_in(const ShardRows<Byte>& shard, std::int64_t g) const {
  return share(comm_.rank(), g) == granules_.bytes(g) ? rows_in(shard, g) : nullptr;
}

const std::byte* GranuleExchange::pack_parcel(const ShardRows<const std::byte>& shard, const Parcel& own) const {
  for_each_run(comm_.rank(), own,
               [&](const Run& run, std::byte* bytes) { pack(shard, run.line, run.row, run.rows, bytes); });
  return own.memory.data();
}

void GranuleExchange::unpack_parcel(const Parcel& own, const ShardRows<std::byte>& shard) const {
  for_each_run(comm_.rank(), own,
               [&](const Run& run, const std::byte* bytes) { unpack(bytes, shard, run.line, run.row, run.rows); });
}

void GranuleExchange::parcel_to_granule(const Parcel& foreign, std::byte* granule) const {
  for_each_run(foreign.peer, foreign,
               [&](const Run& run, const std::byte* bytes) { std::memcpy(granule + run.place, bytes, bytes_of(run)); });
}

void GranuleExchange::granule_to_parcel(const std::byte* granule, const Parcel& foreign) const {
  for_each_run(foreign.peer, foreign,
               [&](const Run& run, std::byte* bytes) { std::memcpy(bytes, granule + run.place, bytes_of(run)); });
}

void GranuleExchange::start_collect(std::int64_t round, const ShardRows<const std::byte>& shard) {
  Flight& started = flights_[slot(round)];
  started = {own_parcels(round), foreign_parcels(round), {}, {}};
  for (const Parcel& parcel : started.foreign) {
    started.arriving.push_back(Transfer::receive(comm_, parcel.memory, parcel.peer, parcel_tag));
  }
  for (const Parcel& parcel : started.own) {
    const std::byte* rows = rows_in(shard, parcel.granule);
    if (rows == nullptr) rows = pack_parcel(shard, parcel);
    started.leaving.push_back(Transfer::send(comm_, {rows, parcel.memory.size()}, parcel.peer, parcel_tag));
  }
}

std::span<const std::byte> GranuleExchange::finish_collect(std::int64_t round,
                                                           const ShardRows<const std::byte>& shard) {
  const auto g = granule(round);
  const std::byte* const in_place = g ? granule_in(shard, *g) : nullptr;
  std::byte* const memory = granule_memory(round);
  if (g && in_place == nullptr) {
    for_each_run(comm_.rank(), *g,
                 [&](const Run& run) { pack(shard, run.line, run.row, run.rows, memory + run.place); });
  }
  Flight& started = flights_[slot(round)];
  wait(started.arriving);
  for (const Parcel& parcel : started.foreign) parcel_to_granule(parcel, memory);
  wait(started.leaving);
  if (!g) return {};
  return {in_place != nullptr ? in_place : memory, static_cast<std::size_t>(granules_.bytes(*g))};
}

void GranuleExchange::collect(const ShardRows<const std::byte>& shard,
                              const std::function<void(std::int64_t, std::span<const std::byte>)>& take) {
  constexpr std::int64_t ahead = under_way - 1;
  for (std::int64_t round = -ahead; round < rounds_; ++round) {
    if (round + ahead < rounds_) start_collect(round + ahead, shard);
    if (round < 0) continue;
    Heartbeat::beat();  // files may be slow
    const auto bytes = finish_collect(round, shard);
    if (const auto g = granule(round)) take(*g, bytes);
  }
}

void GranuleExchange::hand_out(const ShardRows<std::byte>& shard,
                               const std::function<void(std::int64_t, std::span<std::byte>)>& fill) {
  constexpr std::int64_t behind = under_way - 1;
  const auto fill_round = [&](std::int64_t round) {
    const auto g = granule(round);
    if (!g) return;
    std::byte* const in_place = granule_in(shard, *g);
    fill(*g, {in_place != nullptr ? in_place : granule_memory(round), static_cast<std::size_t>(granules_.bytes(*g))});
  };
  std::future<void> filled = run_aside([&] { fill_round(0); });
  for (std::int64_t round = 0; round < rounds_ + behind; ++round) {
    if (round < rounds_) {
      Heartbeat::beat();
      filled.get();
      filled = run_aside([&fill_round, round] { fill_round(round + 1); });
      // Its read starts now, not when this thread first waits: with two ranks on two cores striped shards came at 91 to 94 %
      // of plain reads instead of 83 to 86; on a busy machine it is all one.
      std::this_thread::yield();
      start_hand_out(round, shard);
    }
    if (round >= behind) finish_hand_out(round - behind, shard);
  }
}

void GranuleExchange::start_hand_out(std::int64_t round, const ShardRows<std::byte>& shard) {
  Flight& started = flights_[slot(round)];
  started = {own_parcels(round), foreign_parcels(round), {}, {}};
  for (const Parcel& parcel : started.own) {
    std::byte* const rows = rows_in(shard, parcel.granule);
    const std::span<std::byte> to = rows == nullptr ? parcel.memory : std::span(rows, parcel.memory.size());
    started.arriving.push_back(Transfer::receive(comm_, to, parcel.peer, parcel_tag));
  }
  const std::byte* const memory = granule_memory(round);
  for (const Parcel& parcel : started.foreign) {
    granule_to_parcel(memory, parcel);
    started.leaving.push_back(Transfer::send(comm_, parcel.memory, parcel.peer, parcel_tag));
  }
  const auto g = granule(round);
  if (g && granule_in(shard, *g) == nullptr) {
    for_each_run(comm_.rank(), *g,
                 [&](const Run& run) { unpack(memory + run.place, shard, run.line, run.row, run.rows); });
  }
}

void GranuleExchange::finish_hand_out(std::int64_t round, const ShardRows<std::byte>& shard) {
  Flight& started = flights_[slot(round)];
  wait(started.arriving);
  for (const Parcel& parcel : started.own) {
    if (rows_in(shard, parcel.granule) == nullptr) unpack_parcel(parcel, shard);
  }
  wait(started.leaving);
}

}  // namespace annulus::checkpoint
