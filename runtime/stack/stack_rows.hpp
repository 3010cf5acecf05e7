/// Which rows each layer of a stack works on: the shard, or in a run of local layers the shard and a resident halo. Pure
/// arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "runtime/layout/halo_plan.hpp"
#include "runtime/layout/resident_run.hpp"
#include "runtime/stack/model.hpp"

namespace annulus::stack {

/// How local layers get the rows that their windows reach.
enum class LocalHalo : std::uint8_t {
  automatic,  ///< the cheaper of the two
  resident,   ///< halo rows stay with the rank and are computed twice; a run of local layers sends nothing
  exchange    ///< each local layer fetches the keys it needs
};

/// "auto", "resident", "exchange": the words of --local-halo.
std::string_view name(LocalHalo halo);
std::optional<LocalHalo> parse_local_halo(std::string_view word);

/// Never automatic. Throws UsageError for resident where the model's local layers cannot run without communication
/// (global tokens, stride) or the layout leaves no neighbourhood (striped). The same on every rank.
LocalHalo resolve(LocalHalo wanted, const ModelSpec& model, LayoutSpec layout, int ranks);

/// The rows of one rank.
class StackRows {
 public:
  /// A run of local layers as it recurs in the pattern.
  struct Run {
    ResidentRun rows;
    HaloPlan halo;  ///< of x, before the first layer of the run
  };

  /// `halo`: resolved.
  StackRows(const ModelSpec& model, LayoutSpec layout, int rank, int ranks, LocalHalo halo);

  const RowSet& own() const { return own_; }
  /// The resident run that `layer` belongs to; null for layers that work on the shard alone.
  const Run* run(std::int64_t layer) const;
  /// True for the first layer of a run.
  bool opens_run(std::int64_t layer) const { return run(layer) != nullptr && place(layer).index == 0; }
  /// Rows of x that `layer` reads, and of its q, k, v and out; layers(): the shard.
  const RowSet& held(std::int64_t layer) const { return run(layer) == nullptr ? own_ : run(layer)->rows.held; }
  /// The rows whose attention `layer` computes.
  const RowSet& computed(std::int64_t layer) const;
  /// Rows of the layer that holds most.
  std::int64_t most_rows() const;

 private:
  struct Place {
    const Run* run = nullptr;
    std::size_t index = 0;  ///< within the run
  };
  const Place& place(std::int64_t layer) const { return places_[static_cast<std::size_t>(layer)]; }

  RowSet own_;
  std::map<std::vector<std::size_t>, std::unique_ptr<Run>> runs_;  ///< by the variants of their layers
  std::vector<Place> places_;                                      ///< by layer, and one behind the last
};

/// Rows of x that the rank with most of them holds, layer by layer, and one more: the shard behind the last.
std::vector<std::int64_t> held_rows_by_layer(const ModelSpec& model, LayoutSpec layout, int ranks, LocalHalo resolved);

}  // namespace annulus::stack
