/// The attention of query rows whose keys are spread over ranks, from what each rank's keys add to it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "runtime/comm/communicator.hpp"
#include "runtime/stack/oracle.hpp"

namespace annulus::stack {

/// The parts of all ranks for all samples and heads, merged: shifted to the largest maximum, then added up.
class MergedParts {
 public:
  /// Collective; the parts are in the same order on every rank.
  MergedParts(const Communicator& comm, std::span<const AttentionParts> parts, std::int64_t head_dim)
      : head_dim_(static_cast<std::size_t>(head_dim)) {
    for (const AttentionParts& part : parts) maxima_.insert(maxima_.end(), {part.exact.max, part.plain.max});
    comm.max(maxima_);
    sums_.reserve(parts.size() * stride());
    for (std::size_t i = 0; i < parts.size(); ++i) append(parts[i], maxima_[2 * i], maxima_[2 * i + 1]);
    comm.sum(sums_);
  }

  double exact_lse(std::size_t i) const { return maxima_[2 * i] + std::log(at(i)[0]); }
  double plain_lse(std::size_t i) const { return maxima_[2 * i + 1] + std::log(at(i)[1]); }
  /// Append one head's row.
  void exact_out(std::size_t i, std::vector<double>& out) const { divide(at(i) + 2, at(i)[0], out); }
  void magnitude(std::size_t i, std::vector<double>& out) const { divide(at(i) + 2 + head_dim_, at(i)[0], out); }
  void plain_out(std::size_t i, std::vector<double>& out) const { divide(at(i) + 2 + 2 * head_dim_, at(i)[1], out); }
  /// How far rounding the weights p once may put an element of out off, over the unit roundoff: sum p|v| at most. Roundings of
  /// many weights cancel: of sum (p v)^2, whose root is sqrt(3) standard deviations and more, 4 roots are beyond six.
  double weight_rounding(std::size_t i) const {
    const double* magnitudes = at(i) + 2 + head_dim_;
    const double* squares = at(i) + 2 + 3 * head_dim_;
    double most = 0;
    for (std::size_t c = 0; c < head_dim_; ++c) most = std::max(most, std::min(magnitudes[c], 4 * std::sqrt(squares[c])));
    return at(i)[0] > 0 ? most / at(i)[0] : 0;
  }

 private:
  std::size_t stride() const { return 2 + 4 * head_dim_; }
  const double* at(std::size_t i) const { return sums_.data() + i * stride(); }
  static double shift(double from, double to) { return std::isinf(from) ? 0 : std::exp(from - to); }

  void append(const AttentionParts& part, double exact_max, double plain_max) {
    const double exact = shift(part.exact.max, exact_max);
    const double plain = shift(part.plain.max, plain_max);
    sums_.insert(sums_.end(), {exact * part.exact.sum, plain * part.plain.sum});
    for (const double value : part.exact.weighted) sums_.push_back(exact * value);
    for (const double value : part.magnitude) sums_.push_back(exact * value);
    for (const double value : part.plain.weighted) sums_.push_back(plain * value);
    for (const double value : part.squares) sums_.push_back(exact * exact * value);
  }
  void divide(const double* from, double sum, std::vector<double>& out) const {
    for (std::size_t c = 0; c < head_dim_; ++c) out.push_back(sum > 0 ? from[c] / sum : 0);
  }

  std::size_t head_dim_;
  std::vector<double> maxima_;  ///< [sample, head][exact, plain]
  std::vector<double> sums_;    ///< [sample, head][sum, plain sum, weighted, magnitude, plain weighted, squares]
};

}  // namespace annulus::stack
