/// Choosing an exchange, and the addition of gradients that all of them share.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/exchange/exchange.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/base/error.hpp"
#include "runtime/comm/shared_window.hpp"
#include "runtime/exchange/message_exchange.hpp"
#include "runtime/exchange/shared_exchange.hpp"

namespace annulus {
namespace {

constexpr std::array<std::pair<ExchangeKind, std::string_view>, 4> names{{{ExchangeKind::automatic, "auto"},
                                                                         {ExchangeKind::shared, "shared"},
                                                                         {ExchangeKind::messages, "messages"},
                                                                         {ExchangeKind::device, "device"}}};

template <class T>
void add(std::byte* to, const std::byte* from, std::int64_t elements) {
  T* sum = reinterpret_cast<T*>(to);
  const T* term = reinterpret_cast<const T*>(from);
  for (std::int64_t i = 0; i < elements; ++i) sum[i] += term[i];
}

/// Collective: room on the fullest node view for the blocks of all ranks.
bool room_for_all(const Communicator& comm, std::uint64_t bytes_per_rank) {
  std::array<std::uint64_t, 1> needed{bytes_per_rank};
  std::array<std::uint64_t, 1> free{shared_memory_free()};
  comm.sum(needed);
  comm.min(free);
  return needed[0] <= free[0];
}

ExchangeKind resolve(ExchangeKind wanted, const Communicator& comm, std::uint64_t bytes_per_rank) {
  if (wanted == ExchangeKind::messages) return wanted;
  if (wanted == ExchangeKind::device) {
    throw UsageError("--exchange device is not supported yet (blocks travel in host memory, also with --backend cuda); "
                     "try auto, shared or messages");
  }
  std::array<std::uint64_t, 1> elsewhere{comm.node().size() == comm.size() ? 0U : 1U};
  comm.max(elsewhere);
  if (elsewhere[0] == 0 && (wanted == ExchangeKind::shared || room_for_all(comm, bytes_per_rank))) {
    return ExchangeKind::shared;
  }
  if (wanted == ExchangeKind::shared) {
    throw UsageError("--exchange shared needs all ranks on one node (blocks are read in place); try auto or messages");
  }
  return ExchangeKind::messages;
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

std::unique_ptr<Exchange> make_exchange(ExchangeKind wanted, const Communicator& comm, RingSchedule ring,
                                        std::uint64_t bytes_per_rank, ExchangeKind* resolved) {
  *resolved = resolve(wanted, comm, bytes_per_rank);
  if (*resolved == ExchangeKind::shared) return std::make_unique<SharedExchange>(comm, ring);
  return std::make_unique<MessageExchange>(comm, ring);
}

void add_gradients(DType dtype, std::byte* to, const std::byte* from, std::int64_t elements) {
  dtype == DType::f64 ? add<double>(to, from, elements) : add<float>(to, from, elements);
}

}  // namespace annulus
