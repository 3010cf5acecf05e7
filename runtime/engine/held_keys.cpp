/// One block, packed where it is.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/held_keys.hpp"

#include "kernels/base/checked.hpp"
#include "runtime/exchange/gradient_sum.hpp"

namespace annulus {

using kernels::Direction;

namespace {

kernels::BlockShape block_shape(const AttentionSpec& spec, std::int64_t rows) {
  return {spec.batch, rows, spec.kv_heads, spec.head_dim, spec.dtype};
}

std::uint64_t gradient_bytes(const kernels::KernelTable& table, const kernels::BlockShape& shape) {
  return checked_product(
      {table.gradient_elements(shape), static_cast<std::int64_t>(size_of(kernels::gradient_dtype(shape.dtype)))});
}

}  // namespace

HeldKeys::HeldKeys(const Means& means, std::int64_t most_rows, Direction direction, int passes)
    : means_(means), direction_(direction), shape_(block_shape(means.spec, most_rows)) {
  const auto make = [&](std::uint64_t bytes) {
    return Buffer<std::byte>(static_cast<std::int64_t>(bytes), means_.resources.memory);
  };
  packed_ = make(means_.table.packed_bytes(shape_, direction));
  if (direction == Direction::forward) return;
  gradient_ = make(gradient_bytes(means_.table, shape_));
  if (passes > 1) share_ = make(gradient_bytes(means_.table, shape_));
}

void HeldKeys::pack(const RowSet& keys, const ConstTensorView& k, const ConstTensorView& v) {
  keys_ = &keys;
  shape_.rows = keys.rows();
  has_gradient_ = false;
  if (!means_.spec.alibi_slopes.empty()) positions_ = keys.positions();
  means_.table.pack(shape_, direction_, k, v, packed_.data(), means_.resources.workers);
}

BlockMask HeldKeys::visible(const MeetingRows& rows) const {
  return block_mask(means_.mask, rows.queries, rows.computed, *keys_);
}

std::int64_t HeldKeys::forward(const MeetingRows& rows, kernels::ForwardPass& pass, const Progress& progress) const {
  const BlockMask mask = visible(rows);
  if (mask.pairs > 0) pass.attend(block(), mask.view(), progress);
  return mask.pairs;
}

std::int64_t HeldKeys::backward(const MeetingRows& rows, kernels::BackwardPass& pass, const Progress& progress) {
  const BlockMask mask = visible(rows);
  if (mask.pairs == 0) return 0;
  const Buffer<std::byte>& share = has_gradient_ ? share_ : gradient_;
  pass.attend(block(), mask.view(), share.data(), progress);
  if (has_gradient_) {
    add_gradients(kernels::gradient_dtype(shape_.dtype), gradient_.data(), share.data(),
                  means_.table.gradient_elements(shape_));
  }
  has_gradient_ = true;
  return mask.pairs;
}

void HeldKeys::unpack_gradient(const TensorView& dk, const TensorView& dv) const {
  if (!has_gradient_) gradient_.clear();
  means_.table.unpack_gradient(shape_, gradient_.data(), dk, dv);
}

std::uint64_t HeldKeys::bytes(const kernels::KernelTable& table, const AttentionSpec& spec, std::int64_t rows,
                              Direction direction, int passes) {
  const kernels::BlockShape shape = block_shape(spec, rows);
  const std::uint64_t packed = table.packed_bytes(shape, direction);
  if (direction == Direction::forward) return packed;
  return packed + (passes > 1 ? 2 : 1) * gradient_bytes(table, shape);
}

}  // namespace annulus
