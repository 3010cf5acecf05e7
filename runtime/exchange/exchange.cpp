/// Choosing an exchange, and its passes.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/exchange/exchange.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/base/checked.hpp"
#include "kernels/base/error.hpp"
#include "runtime/comm/agreement.hpp"
#include "runtime/comm/shared_window.hpp"
#include "runtime/exchange/groups.hpp"
#include "runtime/exchange/host_carrier.hpp"

namespace annulus {
namespace {

constexpr std::array<std::pair<ExchangeKind, std::string_view>, 5> names{{{ExchangeKind::automatic, "auto"},
                                                                         {ExchangeKind::shared, "shared"},
                                                                         {ExchangeKind::nodes, "nodes"},
                                                                         {ExchangeKind::messages, "messages"},
                                                                         {ExchangeKind::device, "device"}}};

/// Collective: room on every node for the blocks of its ranks.
bool room_on_nodes(const Communicator& comm, std::uint64_t slot_bytes, std::int64_t slots) {
  const Communicator node = comm.node();
  std::array<std::uint64_t, 1> needed{checked_product({slots, static_cast<std::int64_t>(slot_bytes)})};
  std::array<std::uint64_t, 1> free{shared_memory_free()};
  node.sum(needed);
  node.min(free);
  std::array<std::uint64_t, 1> lacking{needed[0] > free[0] ? 1U : 0U};
  comm.max(lacking);
  return lacking[0] == 0;
}

/// What the ranks can have: device where they compute on one, shared on one node, nodes on several of one size, messages always.
ExchangeKind resolve(ExchangeKind wanted, const Communicator& comm, const Groups& groups, std::uint64_t slot_bytes,
                     bool has_device) {
  if (wanted == ExchangeKind::messages) return wanted;
  check_device_exchange(wanted, has_device);
  if (has_device && (wanted == ExchangeKind::device || wanted == ExchangeKind::automatic)) return ExchangeKind::device;
  const bool one_node = groups.group_size == comm.size();
  if (wanted == ExchangeKind::shared && !one_node) {
    throw UsageError("--exchange shared needs all ranks on one node (blocks are read in place); "
                     "try auto, nodes or messages");
  }
  if (wanted == ExchangeKind::nodes && groups.group_size == 0) {
    throw UsageError("--exchange nodes needs groups of as many ranks on every node (each sends to its counterpart in another "
                     "group); try auto or messages");
  }
  if (wanted != ExchangeKind::automatic) return wanted;
  const bool in_groups = groups.group_size > 1 || one_node;
  if (!in_groups || !room_on_nodes(comm, slot_bytes, one_node ? 1 : 2)) return ExchangeKind::messages;
  return one_node ? ExchangeKind::shared : ExchangeKind::nodes;
}

}  // namespace

std::string_view name(ExchangeKind kind) {
  return std::find_if(names.begin(), names.end(), [&](const auto& entry) { return entry.first == kind; })->second;
}

std::optional<ExchangeKind> parse_exchange(std::string_view word) {
  for (const auto& [kind, known] : names) {
    if (known == word) return kind;
  }
  return std::nullopt;
}

void check_device_exchange(ExchangeKind wanted, bool has_device) {
  if (wanted != ExchangeKind::device || has_device) return;
  throw UsageError("--exchange device needs a backend that computes on a device (blocks stay in its memory); "
                   "try --backend cuda, or --exchange auto");
}

std::unique_ptr<Exchange> make_exchange(ExchangeKind wanted, const Communicator& comm, std::uint64_t slot_bytes,
                                        ExchangeKind* resolved, int group_size,
                                        const std::function<Carriers()>& device) {
  Groups groups = find_groups(comm, wanted == ExchangeKind::nodes ? group_size : 0);
  *resolved = resolve(wanted, comm, groups, slot_bytes, static_cast<bool>(device));
  const bool on_device = *resolved == ExchangeKind::device;
  if (on_device || *resolved == ExchangeKind::messages) {
    return std::make_unique<Exchange>(comm, comm.split(comm.rank()), RingSchedule(comm.rank(), comm.size()),
                                      on_device ? device() : host_carriers(comm));
  }
  RingSchedule ring(comm.rank(), std::move(groups.by_group), groups.group_size);
  Communicator group = comm.split(ring.rank_at(ring.group(), 0));
  return std::make_unique<Exchange>(comm, std::move(group), std::move(ring), host_carriers(comm));
}

void Exchange::begin(PassSizes sizes) {
  traffic_ = {};
  sizes_ = std::move(sizes);
  together(comm_, [&] {
    blocks_.begin(sizes_);
    if (sizes_.backward()) gradients_.begin(sizes_);
  });
}

void Exchange::open() {
  blocks_.sync();
  if (sizes_.backward()) gradients_.open();
}

void Exchange::poll() {
  blocks_.poll();
  if (sizes_.backward()) gradients_.poll();
}

}  // namespace annulus
