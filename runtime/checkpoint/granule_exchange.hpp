/// Brings the rows of a sharded tensor together into whole granules, or takes granules apart into shards.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "kernels/base/buffer.hpp"
#include "runtime/checkpoint/granules.hpp"
#include "runtime/checkpoint/shard_rows.hpp"
#include "runtime/comm/communicator.hpp"
#include "runtime/comm/transfer.hpp"
#include "runtime/layout/layout.hpp"

namespace annulus::checkpoint {

/// Works in rounds: in each, every rank is the keeper of one granule at most. All ranks know the layout, so nobody asks
/// what is sent. Some rounds are under way at a time: rows travel while granules are written or read, and a rank whose
/// disk is slow for a moment stops nobody. A rank stages a granule and the rows that travel in those rounds.
class GranuleExchange {
 public:
  /// Local. Keeps a reference to `comm`.
  GranuleExchange(const Communicator& comm, const Layout& layout, const Granules& granules);

  /// Collective: from shards to granules. Calls take(g, bytes) for every granule that this rank keeps; the bytes are
  /// valid during the call. `take` may not throw: others wait for this rank's rows.
  void collect(const ShardRows<const std::byte>& shard,
               const std::function<void(std::int64_t g, std::span<const std::byte> bytes)>& take);
  /// Collective: from granules to shards. Calls fill(g, bytes) for every granule that this rank keeps, one at a time,
  /// on another thread: the disk works while rows travel. `fill` may not throw, nor use MPI.
  void hand_out(const ShardRows<std::byte>& shard,
                const std::function<void(std::int64_t g, std::span<std::byte> bytes)>& fill);

 private:
  /// Rows of one granule between this rank and another, with memory to stage them: `own` rows are in this rank's shard
  /// and others keep the granule, `foreign` rows are in others' shards and this rank keeps it.
  struct Parcel {
    int peer;
    std::int64_t granule;
    std::span<std::byte> memory;
  };
  /// Rows at consecutive positions of one line in the shard of one rank, and where they belong in the granule, in
  /// bytes.
  struct Run {
    std::int64_t line;
    std::int64_t row;
    std::int64_t rows;
    std::int64_t place;
  };
  std::size_t bytes_of(const Run& run) const {
    return static_cast<std::size_t>(run.rows * granules_.space().row_bytes);
  }

  /// What a round has on its way.
  struct Flight {
    std::vector<Parcel> own;
    std::vector<Parcel> foreign;
    std::vector<Transfer> arriving;
    std::vector<Transfer> leaving;
  };
  static constexpr std::int64_t under_way =
      4;  ///< rounds; with 2, striped shards came from two ranks' disk at 1.5 GB/s
  static std::size_t slot(std::int64_t round) { return static_cast<std::size_t>(round % under_way); }

  void start_collect(std::int64_t round, const ShardRows<const std::byte>& shard);
  std::span<const std::byte> finish_collect(std::int64_t round, const ShardRows<const std::byte>& shard);
  void start_hand_out(std::int64_t round, const ShardRows<std::byte>& shard);
  void finish_hand_out(std::int64_t round, const ShardRows<std::byte>& shard);

  std::vector<Parcel> own_parcels(std::int64_t round) const;
  std::vector<Parcel> foreign_parcels(std::int64_t round) const;
  void size_travel_memory();
  const std::byte* pack_parcel(const ShardRows<const std::byte>& shard, const Parcel& own) const;
  void unpack_parcel(const Parcel& own, const ShardRows<std::byte>& shard) const;
  void parcel_to_granule(const Parcel& foreign, std::byte* granule) const;
  void granule_to_parcel(const std::byte* granule, const Parcel& foreign) const;
  std::byte* granule_memory(std::int64_t round) const { return granule_[static_cast<std::size_t>(round % 2)].data(); }

  /// This rank's rows of a granule in the shard itself, where they lie there in one run; else null.
  template <class Byte>
  Byte* rows_in(const ShardRows<Byte>& shard, std::int64_t g) const;
  /// All rows of a granule in the shard itself, likewise.
  template <class Byte>
  Byte* granule_in(const ShardRows<Byte>& shard, std::int64_t g) const;

  std::optional<std::int64_t> granule(std::int64_t round) const { return kept_by(comm_.rank(), round); }
  std::optional<std::int64_t> kept_by(int rank, std::int64_t round) const;
  std::int64_t share(int rank, std::int64_t g) const;  ///< bytes of a granule that a rank's shard holds
  /// f(run) for what a rank holds of a granule, in the order of its rows.
  template <class F>
  void for_each_run(int rank, std::int64_t g, F&& f) const;
  /// f(run, its bytes in the parcel) for the rows of a parcel, which `rank` holds.
  template <class F>
  void for_each_run(int rank, const Parcel& parcel, F&& f) const;

  const Communicator& comm_;
  Layout layout_;
  Granules granules_;
  std::vector<Layout::RowCounter> counters_;     ///< [rank]
  std::vector<std::vector<std::int64_t>> kept_;  ///< [rank][round]
  std::int64_t rounds_ = 0;
  std::array<Buffer<std::byte>, 2> granule_;      ///< in turn: one is read while the other is handed out
  std::array<Buffer<std::byte>, under_way> own_;  ///< for rounds in turn, as the next two
  std::array<Buffer<std::byte>, under_way> foreign_;
  std::array<Flight, under_way> flights_;  ///< last: what is under way ends before its memory
};

}  // namespace annulus::checkpoint
