/// Every product of sizes is checked; packing is a copy, row by row.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/geometry.hpp"

#include <algorithm>
#include <string>

#include "kernels/cuda/config.hpp"

namespace annulus::kernels::cuda {
namespace {

constexpr std::int64_t granule = 8;  ///< elements of a 16-byte chunk

template <class From, class To>
void convert(const From* from, To* to, std::int64_t count) {
  std::transform(from, from + count, to, [](From x) { return from_double<To>(to_double(x)); });
}

RowArray row_array(const BlockShape& shape, std::int64_t element) {
  const std::int64_t row_bytes = padded_width(shape.head_dim) * element;
  return {static_cast<std::int64_t>(checked_product({shape.batch, shape.kv_heads})), row_bytes, row_bytes};
}

}  // namespace

std::int64_t padded_width(std::int64_t head_dim) {
  if (head_dim < 1 || head_dim > widths[2] || head_dim % granule != 0) {
    throw UsageError("backend cuda does not take head_dim " + std::to_string(head_dim) +
                     " (its tiles are rows of 16-byte chunks); try a multiple of 8 up to 256, or another backend");
  }
  return *std::ranges::find_if(widths, [&](int width) { return head_dim <= width; });
}

std::int64_t padded_query_rows(std::int64_t q_rows) { return round_up(q_rows, row_padding); }

std::int64_t block_elements(const BlockShape& shape) {
  return static_cast<std::int64_t>(
      checked_product({2, shape.batch, shape.kv_heads, shape.rows, padded_width(shape.head_dim)}));
}

std::uint64_t packed_bytes(const BlockShape& shape, Direction) {
  return checked_product({block_elements(shape), static_cast<std::int64_t>(size_of(shape.dtype))});
}

RowArray packed_rows(const BlockShape& shape, Direction) {
  return row_array(shape, static_cast<std::int64_t>(size_of(shape.dtype)));
}

RowArray gradient_rows(const BlockShape& shape) { return row_array(shape, 4); }

std::uint64_t pass_bytes(const Problem& problem, Direction direction) {
  const std::int64_t width = padded_width(problem.head_dim);
  const auto element = static_cast<std::int64_t>(size_of(problem.dtype));
  // forward: q, o, m, l, weight; backward: q, dout, dq, lse, delta
  const std::int64_t row_bytes =
      direction == Direction::forward ? width * (element + 4) + 12 : width * (2 * element + 4) + 8;
  return checked_product({problem.batch, problem.heads, padded_query_rows(problem.q_rows), row_bytes});
}

std::uint64_t device_bytes(const Problem& problem, const BlockShape& largest) {
  const std::uint64_t rooms = checked_product({2, static_cast<std::int64_t>(packed_bytes(largest, Direction::forward))});
  const std::uint64_t gradient = checked_product({block_elements(largest), 4});
  // in f32: forward brings out home, backward reads it once
  const std::uint64_t out =
      checked_product({problem.batch, problem.heads, padded_query_rows(problem.q_rows), padded_width(problem.head_dim), 4});
  return rooms + out + std::max(pass_bytes(problem, Direction::forward), pass_bytes(problem, Direction::backward) + gradient);
}

void gather(const ConstTensorView& view, std::int64_t b, std::int64_t head, const DenseRows& to) {
  const auto element = static_cast<std::int64_t>(size_of(to.dtype));
  std::fill_n(to.data, to.rows * to.width * element, std::byte{});
  with_dtype(view.dtype, [&](auto from) {
    with_dtype(to.dtype, [&](auto into) {
      using From = decltype(from);
      using To = decltype(into);
      for (std::int64_t row = 0; row < view.rows; ++row) {
        To* const target = reinterpret_cast<To*>(to.data) + row * to.width;
        if constexpr (std::is_same_v<From, To>) {
          std::copy_n(view.at<From>(b, row, head), view.head_dim, target);
        } else {
          convert(view.at<From>(b, row, head), target, view.head_dim);
        }
      }
    });
  });
}

void scatter(const float* rows, std::int64_t row_stride, float factor, const TensorView& view, std::int64_t b,
             std::int64_t head) {
  with_dtype(view.dtype, [&](auto element) {
    using T = decltype(element);
    for (std::int64_t row = 0; row < view.rows; ++row) {
      const float* const from = rows + row * row_stride;
      std::transform(from, from + view.head_dim, view.at<T>(b, row, head),
                     [factor](float x) { return from_double<T>(x * factor); });
    }
  });
}

void pack(const BlockShape& shape, Direction, const ConstTensorView& k, const ConstTensorView& v, std::byte* packed,
          Workers& workers) {
  const std::int64_t width = padded_width(shape.head_dim);
  const std::int64_t part = shape.rows * width * static_cast<std::int64_t>(size_of(shape.dtype));
  workers.for_each(shape.batch * shape.kv_heads, [&](std::int64_t task, int) {
    std::byte* const at = packed + task * 2 * part;
    gather(k, task / shape.kv_heads, task % shape.kv_heads, {at, shape.dtype, shape.rows, width});
    gather(v, task / shape.kv_heads, task % shape.kv_heads, {at + part, shape.dtype, shape.rows, width});
  });
}

void unpack_gradient(const BlockShape& shape, const std::byte* gradient, const TensorView& dk, const TensorView& dv) {
  const std::int64_t width = padded_width(shape.head_dim);
  const auto* const from = reinterpret_cast<const float*>(gradient);
  for (std::int64_t task = 0; task < shape.batch * shape.kv_heads; ++task) {
    const float* const rows = from + task * 2 * shape.rows * width;
    scatter(rows, width, 1, dk, task / shape.kv_heads, task % shape.kv_heads);
    scatter(rows + shape.rows * width, width, 1, dv, task / shape.kv_heads, task % shape.kv_heads);
  }
}

}  // namespace annulus::kernels::cuda
