/// Vector clocks: a warp's own entry counts what it has made known.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/proxy_order.hpp"

#include <algorithm>

#include "tests/support/emulated_machine.hpp"

namespace annulus::test {
namespace {

constexpr int lanes = kernels::cuda::lanes;

std::size_t of_warp(int warp) { return static_cast<std::size_t>(warp); }

}  // namespace

void ProxyOrder::restart(int warps, std::size_t shared_bytes) {
  Clock nothing{};
  clocks_.assign(of_warp(warps), nothing);
  for (int warp = 0; warp < warps; ++warp) clocks_[of_warp(warp)][of_warp(warp)] = 1;
  words_.assign(shared_bytes / word_bytes, {});
  granules_.assign(shared_bytes / granule_bytes + 1, {});
  written_.assign(of_warp(warps * lanes), {});
  fenced_.assign(of_warp(warps * lanes), {});
}

void ProxyOrder::join(Clock& clock, const Clock& other) {
  for (std::size_t warp = 0; warp < clock.size(); ++warp) clock[warp] = std::max(clock[warp], other[warp]);
}

template <class Use>
void ProxyOrder::for_each_granule(SharedRange range, Use&& use) {
  for (std::uint32_t at = range.begin / granule_bytes; at < (range.end + granule_bytes - 1) / granule_bytes; ++at) {
    use(granules_[at]);
  }
}

void ProxyOrder::check_unread(int warp, SharedRange range) const {
  for (std::uint32_t at = range.begin / granule_bytes; at < (range.end + granule_bytes - 1) / granule_bytes; ++at) {
    const Granule& granule = granules_[at];
    for (std::size_t reader = 0; reader < clocks_.size(); ++reader) {
      if (granule.reading[reader] > 0) throw EmulationError("overwrites what products or reductions still read");
      if (granule.read[reader] > clocks_[of_warp(warp)][reader]) {
        throw EmulationError("overwrites what another warp's products or reductions may still read: no barrier between");
      }
    }
  }
}

void ProxyOrder::write(int thread, SharedRange range) {
  check_unread(thread / lanes, range);
  for_each_granule(range, [](Granule& granule) { granule.written = true; });
  for (std::uint32_t word = range.begin / word_bytes; word < (range.end + word_bytes - 1) / word_bytes; ++word) {
    words_[word] = {Stage::written, static_cast<std::int16_t>(thread), 0};
    written_[of_warp(thread)].push_back(word);
  }
}

void ProxyOrder::fence(int thread) {
  auto& written = written_[of_warp(thread)];
  for (const std::uint32_t at : written) {
    Word& word = words_[at];
    if (word.stage != Stage::written || word.thread != thread) continue;
    word.stage = Stage::fenced;
    fenced_[of_warp(thread)].push_back(at);
  }
  written.clear();
}

void ProxyOrder::show(int thread) {
  const auto warp = of_warp(thread / lanes);
  for (const std::uint32_t at : fenced_[of_warp(thread)]) {
    Word& word = words_[at];
    if (word.stage == Stage::fenced && word.thread == thread) word = {Stage::shown, word.thread, clocks_[warp][warp]};
  }
  fenced_[of_warp(thread)].clear();
}

void ProxyOrder::meet(std::span<const int> warps) {
  Clock together{};
  for (const int warp : warps) {
    for (int lane = 0; lane < lanes; ++lane) show(warp * lanes + lane);
    join(together, clocks_[of_warp(warp)]);
  }
  for (const int warp : warps) {
    join(clocks_[of_warp(warp)], together);
    ++clocks_[of_warp(warp)][of_warp(warp)];
  }
}

ProxyOrder::Clock ProxyOrder::release(int thread) {
  show(thread);
  Clock& own = clocks_[of_warp(thread / lanes)];
  const Clock known = own;
  ++own[of_warp(thread / lanes)];
  return known;
}

void ProxyOrder::acquire(int warp, const Clock& known) { join(clocks_[of_warp(warp)], known); }

void ProxyOrder::check_word(int warp, const Word& word) const {
  if (word.stage == Stage::none) return;
  if (word.stage == Stage::written) throw EmulationError("products or reductions read what was written without fence_async()");
  const auto writer = of_warp(word.thread / lanes);
  if (word.stage == Stage::shown && word.at <= clocks_[of_warp(warp)][writer]) return;
  throw EmulationError("products or reductions read what another thread wrote, without a barrier between");
}

void ProxyOrder::begin_read(int warp, SharedRange range) {
  for_each_granule(range, [&](Granule& granule) {
    ++granule.reading[of_warp(warp)];
    if (!granule.written) return;
    const auto first = static_cast<std::size_t>(&granule - granules_.data()) * (granule_bytes / word_bytes);
    const std::size_t begin = std::max<std::size_t>(first, range.begin / word_bytes);
    const std::size_t end = std::min<std::size_t>(first + granule_bytes / word_bytes, range.end / word_bytes);
    for (std::size_t at = begin; at < end; ++at) check_word(warp, words_[at]);
  });
}

void ProxyOrder::end_read(int warp, SharedRange range) {
  for_each_granule(range, [&](Granule& granule) {
    --granule.reading[of_warp(warp)];
    granule.read[of_warp(warp)] = clocks_[of_warp(warp)][of_warp(warp)];
  });
}

void ProxyOrder::begin_write(int warp, SharedRange range) {
  check_unread(warp, range);
  for (std::size_t word = range.begin / word_bytes; word < range.end / word_bytes; ++word) words_[word] = {};
}

}  // namespace annulus::test
