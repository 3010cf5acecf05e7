/// Reads late, adds later.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/reductions.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <set>
#include <string>

#include "tests/support/emulated_machine.hpp"

namespace annulus::test {
namespace {

constexpr std::uint32_t granule = 16;
int warp_of(int thread) { return thread / kernels::cuda::lanes; }

}  // namespace

void Reductions::restart(std::span<std::byte> shared) {
  shared_ = shared;
  under_way_.clear();
  batches_ = 0;
}

void Reductions::end() const {
  if (!under_way_.empty()) throw EmulationError("the block ends before its reductions have read shared memory");
}

void Reductions::add(int thread, float* to, std::uint32_t at, int bytes, ProxyOrder& order) {
  const SharedRange from{at, at + static_cast<std::uint32_t>(bytes)};
  if (bytes <= 0 || from.begin % granule != 0 || from.end % granule != 0 || from.end > shared_.size()) {
    throw EmulationError("a reduction of " + std::to_string(bytes) + " bytes at " + std::to_string(at));
  }
  memory_.check(to, static_cast<std::size_t>(bytes), granule);
  order.begin_read(warp_of(thread), from);
  under_way_.push_back({thread, 0, to, from});
}

void Reductions::commit(int thread) {
  ++batches_;
  for (Reduction& reduction : under_way_) {
    if (reduction.thread == thread && reduction.batch == 0) reduction.batch = batches_;
  }
}

void Reductions::wait_read(int thread, int pending, ProxyOrder& order) {
  std::set<int> batches;
  for (const Reduction& reduction : under_way_) {
    if (reduction.thread == thread && reduction.batch != 0) batches.insert(reduction.batch);
  }
  while (std::ssize(batches) > pending) {
    const int oldest = *batches.begin();
    batches.erase(batches.begin());
    std::erase_if(under_way_, [&](const Reduction& reduction) {
      if (reduction.batch != oldest) return false;
      read(reduction);
      order.end_read(warp_of(thread), reduction.from);
      return true;
    });
  }
}

void Reductions::read(const Reduction& reduction) {
  Sum sum{reduction.to, std::vector<float>((reduction.from.end - reduction.from.begin) / sizeof(float))};
  std::memcpy(sum.terms.data(), shared_.data() + reduction.from.begin, sum.terms.size() * sizeof(float));
  sums_.push_back(std::move(sum));
}

void Reductions::settle() {
  for (const Sum& sum : sums_) {
    memory_.check(sum.to, sum.terms.size() * sizeof(float), granule);
    std::ranges::transform(sum.terms, std::span(sum.to, sum.terms.size()), sum.to, std::plus<>());
  }
  sums_.clear();
}

}  // namespace annulus::test
