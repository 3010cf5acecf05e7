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
  device
};

/// "auto", "shared", "nodes", "messages", "device": the words of --exchange and reports.
std::string_view name(ExchangeKind kind);
std::optional<ExchangeKind> parse_exchange(std::string_view word);

}  // namespace annulus
