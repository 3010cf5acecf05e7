/// Brings the rows of a sharded tensor together into whole granules, or takes granules apart into shards.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/base/buffer.hpp"
#include "runtime/checkpoint/granules.hpp"
#include "runtime/checkpoint/shard_rows.hpp"
#include "runtime/comm/communicator.hpp"
#include "runtime/layout/layout.hpp"

namespace annulus::checkpoint {

/// Works in rounds: in each, every rank is the keeper of one granule at most. All ranks know the layout, so nobody asks
/// what is sent. A rank stages one granule, the rows that arrive for it, and its own rows that leave: a few granules.
class GranuleExchange {
 public:
  /// Local. Keeps a reference to `comm`.
  GranuleExchange(const Communicator& comm, const Layout& layout, const Granules& granules);

  std::int64_t rounds() const { return rounds_; }  ///< local, the same on every rank
  /// The granule that this rank keeps in a round; empty if none is left for it. Local.
  std::optional<std::int64_t> granule(std::int64_t round) const { return kept_by(comm_.rank(), round); }

  /// Collective. The bytes of granule(round), made of all ranks' rows; valid until the next round. They may lie in the
  /// shard itself.
  std::span<const std::byte> collect(std::int64_t round, const ShardRows<const std::byte>& shard) const;

  /// Where the keeper puts the bytes of granule(round) before hand_out(). Local.
  std::span<std::byte> staging(std::int64_t round) const;
  /// Collective. Puts the rows of all granules of the round into the shards of their owners.
  void hand_out(std::int64_t round, const ShardRows<std::byte>& shard) const;

 private:
  /// Rows of one granule between this rank and another: `own` rows are in this rank's shard and others keep the granule,
  /// `foreign` rows are in others' shards and this rank keeps it.
  struct Parcel {
    int peer;
    std::int64_t granule;
    std::span<std::byte> memory;
  };
  std::vector<Parcel> own_parcels(std::int64_t round) const;
  std::vector<Parcel> foreign_parcels(std::int64_t round) const;
  void size_travel_memory();

  std::optional<std::int64_t> kept_by(int rank, std::int64_t round) const;
  std::int64_t share(int rank, std::int64_t g) const;  ///< bytes of a granule that a rank's shard holds
  /// The granule's bytes in the shard, if they lie there in one run.
  const std::byte* in_place(std::int64_t g, const ShardRows<const std::byte>& shard) const;
  /// f(line, row in the rank's shard, rows, place in the granule) for runs of rows at consecutive positions.
  template <class F>
  void for_each_run(int rank, std::int64_t g, F&& f) const;

  const Communicator& comm_;
  Layout layout_;
  Granules granules_;
  std::vector<Layout::RowCounter> counters_;     ///< [rank]
  std::vector<std::vector<std::int64_t>> kept_;  ///< [rank][round]
  std::int64_t rounds_ = 0;
  Buffer<std::byte> granule_;
  Buffer<std::byte> own_;
  Buffer<std::byte> foreign_;
};

}  // namespace annulus::checkpoint
