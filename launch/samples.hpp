/// Repeated measurements and what a person wants to know of them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <ctime>
#include <vector>

namespace annulus::launch {

/// CPU time of the calling thread: what neighbours on the machine do to the wall clock does not count.
inline double thread_cpu_seconds() {
  std::timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// At least one value must be added before the first question but empty().
class Samples {
 public:
  bool empty() const { return values_.empty(); }
  void add(double value) { values_.insert(std::upper_bound(values_.begin(), values_.end(), value), value); }
  double median() const {
    const std::size_t middle = values_.size() / 2;
    return values_.size() % 2 == 1 ? values_[middle] : (values_[middle - 1] + values_[middle]) / 2;
  }
  /// The value below which a share `q` in [0, 1] of the others lies.
  double quantile(double q) const {
    return values_[static_cast<std::size_t>(q * static_cast<double>(values_.size() - 1) + 0.5)];
  }

 private:
  std::vector<double> values_;  ///< ascending
};

}  // namespace annulus::launch
