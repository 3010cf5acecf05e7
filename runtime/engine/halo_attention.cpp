/// Own block first, halo block second: one fixed order of additions.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/halo_attention.hpp"

#include <array>

#include "kernels/base/checked.hpp"

namespace annulus {

using kernels::Direction;

namespace {

/// to = from, converted.
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

std::uint64_t row_bytes(const AttentionSpec& spec, DType dtype) {
  return checked_product({spec.batch, spec.kv_heads, spec.head_dim, static_cast<std::int64_t>(size_of(dtype))});
}

}  // namespace

HaloAttention::HaloAttention(const Communicator& comm, const AttentionPlan& plan, const kernels::KernelTable& table,
                             kernels::Resources resources)
    : plan_(plan),
      halo_(*plan.halo()),
      resources_(resources),
      keys_(table, plan.spec(), plan.mask(), resources),
      exchange_(comm, halo_) {}

TensorView HaloAttention::keys_view(const Buffer<std::byte>& memory, DType dtype, std::int64_t rows) const {
  const AttentionSpec& spec = plan_.spec();
  return dense_view(memory.data(), dtype, spec.batch, rows, spec.kv_heads, spec.head_dim);
}

HaloAttention::Gradients HaloAttention::make_gradients(std::int64_t rows) const {
  const std::int64_t bytes = rows * static_cast<std::int64_t>(row_bytes(plan_.spec(), gradient_type()));
  return {Buffer<std::byte>(bytes, resources_.memory), Buffer<std::byte>(bytes, resources_.memory)};
}

void HaloAttention::reserve(Direction direction) {
  const AttentionSpec& spec = plan_.spec();
  const auto bytes = static_cast<std::int64_t>(row_bytes(spec, spec.dtype));
  for (Buffer<std::byte>* rows : {&k_, &v_}) *rows = Buffer<std::byte>(halo_.halo.rows() * bytes, resources_.memory);
  const DType widest = direction == Direction::backward ? gradient_type() : spec.dtype;
  exchange_.reserve(2 * row_bytes(spec, widest));
  if (direction == Direction::forward) return;
  own_ = make_gradients(halo_.own.rows());
  away_ = make_gradients(halo_.halo.rows());
}

void HaloAttention::fetch(const ConstTensorView& k, const ConstTensorView& v) {
  const std::array<ConstTensorView, 2> own{k, v};
  exchange_.start(HaloExchange::Way::fetch, own, halo_.own);
}

void HaloAttention::land() {
  const DType dtype = plan_.spec().dtype;
  const std::int64_t rows = halo_.halo.rows();
  const std::array<TensorView, 2> halo{keys_view(k_, dtype, rows), keys_view(v_, dtype, rows)};
  exchange_.finish(halo, halo_.halo);
}

std::int64_t HaloAttention::forward(const ForwardCall& call, kernels::ForwardPass& pass) {
  const RowSet& queries = plan_.queries();
  const DType dtype = plan_.spec().dtype;
  const std::int64_t rows = halo_.halo.rows();
  fetch(call.k, call.v);
  const std::int64_t own = keys_.forward({queries, queries, halo_.own}, call.k, call.v, pass, [this] { exchange_.poll(); });
  land();
  return own + keys_.forward({queries, queries, halo_.halo}, keys_view(k_, dtype, rows), keys_view(v_, dtype, rows),
                             pass, {});
}

std::int64_t HaloAttention::backward(const BackwardCall& call, kernels::BackwardPass& pass) {
  const RowSet& queries = plan_.queries();
  const DType dtype = plan_.spec().dtype;
  const std::int64_t rows = halo_.halo.rows();
  const auto views = [&](const Gradients& gradients, std::int64_t n) {
    return std::array<TensorView, 2>{keys_view(gradients.dk, gradient_type(), n), keys_view(gradients.dv, gradient_type(), n)};
  };
  const std::array<TensorView, 2> own = views(own_, halo_.own.rows());
  const std::array<TensorView, 2> away = views(away_, rows);
  fetch(call.k, call.v);
  std::int64_t pairs = keys_.backward({queries, queries, halo_.own}, call.k, call.v, pass, own[0], own[1],
                                      [this] { exchange_.poll(); });
  land();
  pairs += keys_.backward({queries, queries, halo_.halo}, keys_view(k_, dtype, rows), keys_view(v_, dtype, rows), pass,
                          away[0], away[1], {});
  const std::array<ConstTensorView, 2> leaving{away[0], away[1]};
  exchange_.start(HaloExchange::Way::home, leaving, halo_.halo);
  exchange_.finish(own, halo_.own);
  convert(own[0], call.dk);
  convert(own[1], call.dv);
  return pairs;
}

std::uint64_t HaloAttention::bytes(const AttentionSpec& spec, const kernels::KernelTable& table, std::int64_t own_rows,
                                   std::int64_t halo_rows, Direction direction) {
  const DType gradient = kernels::gradient_dtype(spec.dtype);
  const bool backward = direction == Direction::backward;
  std::uint64_t sum = 0;
  for (const std::int64_t rows : {own_rows, halo_rows}) {
    const kernels::BlockShape shape{spec.batch, rows, spec.kv_heads, spec.head_dim, spec.dtype};
    sum += table.packed_bytes(shape, direction);
    if (!backward) continue;
    sum += checked_product({table.gradient_elements(shape), static_cast<std::int64_t>(size_of(gradient))});
    sum += checked_product({2, rows, static_cast<std::int64_t>(row_bytes(spec, gradient))});
  }
  // The halo itself, and what is staged to send and to receive: as much again each way where neighbours are alike.
  const std::uint64_t staged = row_bytes(spec, backward ? gradient : spec.dtype);
  sum += checked_product({2, halo_rows, static_cast<std::int64_t>(row_bytes(spec, spec.dtype))});
  return sum + checked_product({4, halo_rows, static_cast<std::int64_t>(staged)});
}

}  // namespace annulus
