/// The ways a block reaches a rank, by name.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

namespace annulus {

enum class ExchangeKind { automatic, shared, messages, device };

/// "auto", "shared", "messages", "device": the words of --exchange and reports.
std::string_view name(ExchangeKind kind);
std::optional<ExchangeKind> parse_exchange(std::string_view word);

}  // namespace annulus
