/// Errors of sampled rows, stage by stage, and the verdict on them. Pure arithmetic.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/base/dtype.hpp"
#include "runtime/stack/samples.hpp"

namespace annulus::stack {

/// The largest errors of one layer. Relative: to the scale of the tensor among the sampled rows.
struct LayerErrors {
  double max_abs_error = 0;
  double max_rel_error = 0;
};

enum class Stage : std::uint8_t { q, k, v, out, lse, x };

/// One row of one stage as stored and as recomputed.
struct StageRow {
  std::span<const double> stored;
  std::span<const double> expected;
  std::span<const double> plain;  ///< what a plain computation in the dtype gives
  std::span<const double> scale;  ///< its largest element is what errors are relative to
  double weight_rounding = 0;     ///< of out: what rounding its weights may do to an element, over the unit roundoff
};

/// A table of numbers per stage and sample. Each rank fills in what it knows; the element-wise maximum over ranks is
/// the whole table.
class Comparison {
 public:
  explicit Comparison(std::size_t samples);

  /// Different samples may be added by different threads.
  void add(Stage stage, std::size_t sample, const StageRow& row);
  void add_score(std::size_t sample, double largest_score);

  /// The numbers to take the maximum of over ranks.
  std::span<double> values() { return values_; }

  /// Throws Error(ExitCode::verification) naming layer, stage and row if an error is beyond tolerance:
  ///   f32:     max(1e-5, 8 eps32 max|s|) relative to the scale of the stage, of lse to 1 at least
  ///   16 bits: or twice the largest error of the plain rows, if that is more; and of each row of out what one rounding of its own
  ///            scores and weights may do: of few rows with few keys the plain ones may all be nearly exact by chance
  LayerErrors verdict(std::int64_t layer, DType dtype, std::span<const Sample> samples) const;

 private:
  static constexpr std::size_t stages = 6;
  enum Column : std::size_t { error, plain_error, scale, weight_rounding, columns };

  std::size_t index(Stage stage, Column column, std::size_t sample) const {
    return (static_cast<std::size_t>(stage) * columns + column) * samples_ + sample;
  }
  /// Of the finite ones: a plain row that overflows its dtype must not make every error look small.
  double largest(Stage stage, Column column) const;
  double tolerance(Stage stage, DType dtype) const;
  /// Of one row: no row is excused by what another one's few keys may do to it.
  double tolerance(Stage stage, DType dtype, std::size_t sample) const;

  std::size_t samples_;
  std::vector<double> values_;  ///< [stage][column][sample], then [sample] largest scores
};

}  // namespace annulus::stack
