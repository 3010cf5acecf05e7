/// Piecewise moves in the one order that overwrites nothing still to be moved.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/row_moves.hpp"

#include <algorithm>
#include <cstring>

namespace annulus::stack {
namespace {

void move_rows(std::byte* tensor, std::int64_t to, std::int64_t from, std::int64_t rows, std::int64_t row_bytes) {
  std::memmove(tensor + to * row_bytes, tensor + from * row_bytes, static_cast<std::size_t>(rows * row_bytes));
}

void clear_rows(std::byte* tensor, std::int64_t begin, std::int64_t end, std::int64_t row_bytes) {
  if (begin < end) std::memset(tensor + begin * row_bytes, 0, static_cast<std::size_t>((end - begin) * row_bytes));
}

}  // namespace

void narrow(std::byte* tensor, std::int64_t batch, std::int64_t row_bytes, const RowSet& from, const RowSet& to) {
  for (std::int64_t b = 0; b < batch; ++b) {
    for (const Piece& piece : to.pieces()) {
      const std::int64_t source = b * from.rows() + from.rows_before(piece.pos);
      move_rows(tensor, b * to.rows() + piece.row, source, piece.rows, row_bytes);
    }
  }
}

void widen(std::byte* tensor, std::int64_t batch, std::int64_t row_bytes, const RowSet& from, const RowSet& to) {
  const auto& pieces = from.pieces();
  for (std::int64_t b = batch; b-- > 0;) {
    std::int64_t settled = (b + 1) * to.rows();  // rows from here on are in place
    for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece) {
      const std::int64_t target = b * to.rows() + to.rows_before(piece->pos);
      move_rows(tensor, target, b * from.rows() + piece->row, piece->rows, row_bytes);
      clear_rows(tensor, target + piece->rows, settled, row_bytes);
      settled = target;
    }
    clear_rows(tensor, b * to.rows(), settled, row_bytes);
  }
}

ShardAlone::ShardAlone(std::byte* tensor, std::int64_t batch, std::int64_t row_bytes, const RowSet& held,
                       const RowSet& own)
    : tensor_(tensor),
      batch_(batch),
      row_bytes_(row_bytes),
      held_(held),
      own_(own),
      halo_(without(held, own)),
      aside_(batch * halo_.rows() * row_bytes) {
  if (halo_.empty()) return;
  copy_rows(tensor_, held_, aside_.data(), halo_, batch_, row_bytes_);
  narrow(tensor_, batch_, row_bytes_, held_, own_);
}

ShardAlone::~ShardAlone() {
  if (halo_.empty()) return;
  widen(tensor_, batch_, row_bytes_, own_, held_);
  copy_rows(aside_.data(), halo_, tensor_, held_, batch_, row_bytes_);
}

void copy_rows(const std::byte* from, const RowSet& from_rows, std::byte* to, const RowSet& to_rows, std::int64_t batch,
               std::int64_t row_bytes) {
  const RowSet common = intersect(from_rows, to_rows);
  for (std::int64_t b = 0; b < batch; ++b) {
    for (const Piece& piece : common.pieces()) {
      const std::int64_t source = b * from_rows.rows() + from_rows.rows_before(piece.pos);
      const std::int64_t target = b * to_rows.rows() + to_rows.rows_before(piece.pos);
      std::memcpy(to + target * row_bytes, from + source * row_bytes, static_cast<std::size_t>(piece.rows * row_bytes));
    }
  }
}

}  // namespace annulus::stack
