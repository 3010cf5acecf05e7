/// One block, packed where it is.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/held_keys.hpp"

#include "kernels/kernel_table.hpp"

namespace annulus {

using kernels::Direction;

kernels::BlockShape HeldKeys::shape(const HeldRows& rows) const {
  return {spec_.batch, rows.keys.rows(), spec_.kv_heads, spec_.head_dim, spec_.dtype};
}

std::vector<std::int64_t> HeldKeys::key_positions(const HeldRows& rows) const {
  return spec_.alibi_slopes.empty() ? std::vector<std::int64_t>{} : rows.keys.positions();
}

Buffer<std::byte> HeldKeys::packed(const kernels::BlockShape& shape, Direction direction, const ConstTensorView& k,
                                   const ConstTensorView& v) const {
  Buffer<std::byte> block(static_cast<std::int64_t>(table_.packed_bytes(shape, direction)), resources_.memory);
  table_.pack(shape, direction, k, v, block.data(), resources_.workers);
  return block;
}

std::int64_t HeldKeys::forward(const HeldRows& rows, const ConstTensorView& k, const ConstTensorView& v,
                               kernels::ForwardPass& pass, const Progress& progress) const {
  const BlockMask visible = block_mask(mask_, rows.queries, rows.computed, rows.keys);
  if (visible.pairs == 0) return 0;
  const Buffer<std::byte> block = packed(shape(rows), Direction::forward, k, v);
  const std::vector<std::int64_t> positions = key_positions(rows);
  pass.attend({shape(rows), block.data(), positions}, visible.view(), progress);
  return visible.pairs;
}

std::int64_t HeldKeys::backward(const HeldRows& rows, const ConstTensorView& k, const ConstTensorView& v,
                                kernels::BackwardPass& pass, const TensorView& dk, const TensorView& dv,
                                const Progress& progress) const {
  const BlockMask visible = block_mask(mask_, rows.queries, rows.computed, rows.keys);
  const auto item = static_cast<std::int64_t>(size_of(kernels::gradient_dtype(spec_.dtype)));
  const Buffer<std::byte> gradient(table_.gradient_elements(shape(rows)) * item, resources_.memory);
  if (visible.pairs == 0) {
    gradient.clear();
  } else {
    const Buffer<std::byte> block = packed(shape(rows), Direction::backward, k, v);
    const std::vector<std::int64_t> positions = key_positions(rows);
    pass.attend({shape(rows), block.data(), positions}, visible.view(), gradient.data(), progress);
  }
  table_.unpack_gradient(shape(rows), gradient.data(), dk, dv);
  return visible.pairs;
}

}  // namespace annulus
