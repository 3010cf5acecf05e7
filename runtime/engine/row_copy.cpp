/// Conversion row by row.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/row_copy.hpp"

namespace annulus {

void convert(const ConstTensorView& from, const TensorView& to) {
  with_dtype(from.dtype, [&](auto source) {
    with_dtype(to.dtype, [&](auto target) {
      using Source = decltype(source);
      using Target = decltype(target);
      for (std::int64_t b = 0; b < from.batch; ++b) {
        for (std::int64_t row = 0; row < from.rows; ++row) {
          for (std::int64_t head = 0; head < from.heads; ++head) {
            const Source* const in = from.at<Source>(b, row, head);
            Target* const out = to.at<Target>(b, row, head);
            for (std::int64_t i = 0; i < from.head_dim; ++i) out[i] = from_double<Target>(to_double(in[i]));
          }
        }
      }
    });
  });
}

void convert(const RowSet& positions, const ConstTensorView& from, const RowSet& from_rows, const TensorView& to,
             const RowSet& to_rows) {
  for (const Piece& piece : positions.pieces()) {
    convert(some_rows(from, from_rows.rows_before(piece.pos), piece.rows),
            some_rows(to, to_rows.rows_before(piece.pos), piece.rows));
  }
}

}  // namespace annulus
