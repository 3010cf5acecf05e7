/// Forecast, then a bracket around the budget.
// SPDX-License-Identifier: Apache-2.0
#include "launch/study/search.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "launch/memory.hpp"
#include "launch/study/measure.hpp"

namespace annulus::launch {
namespace {

constexpr std::int64_t fine_step = 16;  ///< tokens
constexpr std::int64_t steps_of_forecast = 64;
constexpr std::int64_t first_stride = 2;  ///< steps; doubles until the bracket is found

class Search {
 public:
  Search(const Communicator& ranks, PointRequest request, std::uint64_t budget)
      : ranks_(ranks), request_(std::move(request)), budget_(budget) {
    found_.predicted = predicted_longest(request_, budget);
    step_ = std::max<std::int64_t>(1, found_.predicted / steps_of_forecast);
  }

  LongestContext run() {
    std::int64_t fitting = 0;
    std::int64_t beyond = 0;
    const std::int64_t guess = std::max<std::int64_t>(1, found_.predicted / step_);
    (fits(guess) ? fitting : beyond) = guess;
    for (std::int64_t stride = first_stride; fitting == 0 || beyond == 0; stride *= 2) {
      const std::int64_t next = fitting == 0 ? std::max<std::int64_t>(0, beyond - stride) : fitting + stride;
      if (next == 0) break;
      (fits(next) ? fitting : beyond) = next;
    }
    while (beyond - fitting > 1) {
      const std::int64_t middle = (fitting + beyond) / 2;
      (fits(middle) ? fitting : beyond) = middle;
    }
    found_.seq_len = fitting * step_;
    return found_;
  }

 private:
  bool fits(std::int64_t steps) {
    request_.seq_len = steps * step_;
    const PlanPoint point = plan_point(request_, nullptr);
    check_memory(ranks_, point.bytes(), fmt::format("a try of {} tokens", request_.seq_len));
    const MeasuredPoint measured = measure_point(ranks_, point, request_, {.repeats = 1, .warmups = 0, .verify_rows = 0});
    const std::uint64_t peak = *std::ranges::max_element(measured.peak_bytes);
    found_.tried.push_back({request_.seq_len, peak <= budget_, measured.seconds, peak});
    return peak <= budget_;
  }

  const Communicator& ranks_;
  PointRequest request_;
  std::uint64_t budget_;
  std::int64_t step_ = 1;
  LongestContext found_;
};

}  // namespace

std::int64_t predicted_longest(const PointRequest& request, std::uint64_t budget) {
  const std::int64_t tokens = longest_context(request, budget, fine_step);
  return tokens < steps_of_forecast * fine_step ? longest_context(request, budget, 1) : tokens;
}

LongestContext search_longest(const Communicator& ranks, PointRequest request, std::uint64_t budget) {
  return Search(ranks, std::move(request), budget).run();
}

}  // namespace annulus::launch
