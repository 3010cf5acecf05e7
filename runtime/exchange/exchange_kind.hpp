/// The ways a block reaches a rank, by name.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

namespace annulus {

enum class ExchangeKind {
  automatic,
  shared,    ///< all ranks read blocks in place
  nodes,     ///< the ranks of a node do; between nodes each exchanges messages with its counterpart
  messages,  ///< every rank sends to the one before it
  device     ///< every rank sends to the one before it, from the memory of its device to that of the other's
};

/// "auto", "shared", "nodes", "messages", "device": the words of --exchange and reports.
std::string_view name(ExchangeKind kind);
std::optional<ExchangeKind> parse_exchange(std::string_view word);

/// Throws UsageError for device where the kernels have none.
void check_device_exchange(ExchangeKind wanted, bool has_device);

}  // namespace annulus
