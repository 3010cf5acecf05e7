/// One allreduce tells every rank whether all succeeded; only a failure costs more.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/agreement.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <vector>

namespace annulus {
namespace {

/// Collective, after a failure somewhere: all ranks throw what the lowest failing rank found.
[[noreturn]] void throw_together(const Communicator& comm, const Verdict& mine) {
  const auto codes = comm.all_gather(static_cast<std::uint64_t>(mine.code));
  const auto failed = [](std::uint64_t code) { return code != static_cast<std::uint64_t>(ExitCode::done); };
  const auto first = std::find_if(codes.begin(), codes.end(), failed);
  std::string message = mine.message;
  comm.broadcast(message, static_cast<int>(first - codes.begin()));
  if (!std::all_of(codes.begin(), codes.end(), failed)) {
    message += " [found on rank " + std::to_string(first - codes.begin()) + "]";
  }
  throw_error(static_cast<ExitCode>(*first), message);
}

std::string list_ranks(const std::vector<int>& ranks) {
  constexpr std::size_t shown = 16;
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < std::min(ranks.size(), shown); ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(ranks[i]);
  }
  return ranks.size() > shown ? text + ", ..." : text;
}

/// Collective: names the ranks that differ from the most common hash (the lowest rank's among equals).
[[noreturn]] void throw_disagreement(const Communicator& comm, std::uint64_t settings, std::string_view what) {
  const auto hashes = comm.all_gather(settings);
  std::map<std::uint64_t, int> votes;
  for (const std::uint64_t hash : hashes) ++votes[hash];
  const auto common = *std::max_element(hashes.begin(), hashes.end(),
                                        [&](std::uint64_t a, std::uint64_t b) { return votes[a] < votes[b]; });
  std::vector<int> others;
  for (std::size_t rank = 0; rank < hashes.size(); ++rank) {
    if (hashes[rank] != common) others.push_back(static_cast<int>(rank));
  }
  throw UsageError("the ranks disagree about " + std::string(what) + ": " + list_ranks(others) +
                   " differ from the rest (a ring needs the same settings everywhere); try passing the same values");
}

}  // namespace

void agree(const Communicator& comm, const Verdict& mine) {
  std::array<std::uint64_t, 1> failed{mine.code == ExitCode::done ? 0U : 1U};
  comm.max(failed);
  if (failed[0] != 0) throw_together(comm, mine);
}

void agree_on_settings(const Communicator& comm, std::uint64_t settings, std::string_view what, const Verdict& mine) {
  // The minima of h and ~h are complements exactly if all h are equal.
  std::array<std::uint64_t, 3> common{settings, ~settings, mine.code == ExitCode::done ? 1U : 0U};
  comm.min(common);
  if (common[2] == 0) throw_together(comm, mine);
  if (common[0] != ~common[1]) throw_disagreement(comm, settings, what);
}

}  // namespace annulus
