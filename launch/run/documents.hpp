/// Where the documents of a run begin and end.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/run/input.hpp"
#include "launch/run/options.hpp"

namespace annulus::launch {

struct Documents {
  std::string source;                ///< FILE.h5:/dataset; empty: none, the input is one document
  std::vector<std::int64_t> bounds;  ///< cu_seqlens of the whole input: [0, ..., its length]
};

/// Collective. The list that --cu-seqlens names, that of the resumed run, or cu_seqlens beside the activations of `input`
/// (null: there are none). Throws InputError together for a list that is missing or bounds no documents of the input.
Documents read_documents(const Communicator& world, const RunOptions& options, const RunInput* input);

/// The bounds of the first `seq_len` tokens. Throws InputError if the documents do not reach so far.
std::vector<std::int64_t> bounds_within(const Documents& documents, std::int64_t seq_len);

/// 16 hex digits that tell one list from another.
std::string digest_of(const std::vector<std::int64_t>& bounds);

}  // namespace annulus::launch
