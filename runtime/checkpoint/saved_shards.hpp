/// What save() is given: checked, hashed for agreement, and turned into datasets.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "runtime/checkpoint/checkpoint.hpp"
#include "runtime/checkpoint/manifest.hpp"

namespace annulus::checkpoint {

/// Throws UsageError that names the tensor. Local.
void check_saved(const Communicator& comm, const CheckpointNotes& notes, std::span<const SavedShard> shards);

/// Equal on ranks that would write the same file.
std::uint64_t settings_hash(const CheckpointNotes& notes, std::span<const SavedShard> shards);

/// The dataset that a shard becomes, with no place in the file and no checksums yet.
DatasetRecord record_of(const SavedShard& shard);

}  // namespace annulus::checkpoint
