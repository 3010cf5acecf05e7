/// A few key rows of a block as doubles: bounds the scratch memory and converts each key once for all queries.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/reference/packed_block.hpp"
#include "kernels/reference/rows.hpp"

namespace annulus::kernels::reference {

inline constexpr std::int64_t tile_rows = 64;  ///< K and V of a tile at head_dim 64: 64 KiB, within L2

class KeyTile {
 public:
  explicit KeyTile(std::int64_t head_dim)
      : head_dim_(head_dim), k_(static_cast<std::size_t>(tile_rows * head_dim)), v_(k_.size()) {}

  void load(const Block& block, std::int64_t b, std::int64_t kv_head, std::int64_t begin) {
    const BlockShape& shape = block.shape;
    keys_ = {begin, std::min(begin + tile_rows, shape.rows)};
    const std::int64_t count = (keys_.end - keys_.begin) * head_dim_;
    const auto from = [&](Part part) { return block.packed + row_offset(shape, shape.dtype, b, kv_head, part, begin); };
    reference::load(shape.dtype, from(Part::k), count, k_.data());
    reference::load(shape.dtype, from(Part::v), count, v_.data());
  }

  RowSpan keys() const { return keys_; }
  const double* k(std::int64_t key_row) const { return k_.data() + (key_row - keys_.begin) * head_dim_; }
  const double* v(std::int64_t key_row) const { return v_.data() + (key_row - keys_.begin) * head_dim_; }

 private:
  std::int64_t head_dim_;
  RowSpan keys_;
  std::vector<double> k_;
  std::vector<double> v_;
};

/// Calls visit(key_row) for every key row of `keys` that query row `q_row` sees, span by span.
template <class Visit>
void for_each_visible(const VisibleRows& visible, std::int64_t q_row, RowSpan keys, Visit&& visit) {
  for (const RowSpan& span : visible.of_row(q_row)) {
    const RowSpan seen = span.within(keys);
    for (std::int64_t key_row = seen.begin; key_row < seen.end; key_row += seen.step) visit(key_row);
  }
}

/// Lets messages move on every few query rows; empty on workers that may not call MPI.
class Poll {
 public:
  Poll(const Progress& progress, int worker) : progress_(worker == 0 && progress ? &progress : nullptr) {}
  void row_done() {
    if (progress_ != nullptr && ++rows_ % rows_per_call == 0) (*progress_)();
  }

 private:
  static constexpr std::int64_t rows_per_call = 16;  ///< about 50-200 us at head_dim 64 to 256
  const Progress* progress_;
  std::int64_t rows_ = 0;
};

}  // namespace annulus::kernels::reference
