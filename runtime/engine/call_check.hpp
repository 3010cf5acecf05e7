/// What callers may pass: everything is checked on every rank before anything is sent.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/engine/ring_attention.hpp"

namespace annulus {

/// Throws UsageError for extents, scales or lists that make no attention. Local; the same on ranks with equal specs.
void check_spec(const AttentionSpec& spec);

/// Throws UsageError for views that do not fit the rank's shards. Local.
void check_call(const AttentionSpec& spec, std::int64_t q_rows, std::int64_t k_rows, const ForwardCall& call);
void check_call(const AttentionSpec& spec, std::int64_t q_rows, std::int64_t k_rows, const BackwardCall& call);

}  // namespace annulus
