/// One number for everything that ranks must agree on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/contract/attention.hpp"
#include "runtime/engine/ring_attention.hpp"

namespace annulus {

/// Hash (xxh64) of a spec, its layout, the row of the kernel table, and what of `execution` must be the same on every rank:
/// exchange, group_size, deterministic.
std::uint64_t settings_hash(const AttentionSpec& spec, LayoutSpec layout, std::string_view backend, const Execution& execution);

/// The hash that opens a call: the settings, the direction and how many calls came before.
std::uint64_t call_hash(std::uint64_t settings, kernels::Direction direction, std::uint64_t calls);

}  // namespace annulus
