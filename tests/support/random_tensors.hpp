/// Test data as a function of the global position: any rank makes any row without asking another.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "kernels/base/buffer.hpp"
#include "kernels/base/view.hpp"

namespace annulus::test {

/// Which tensor a value belongs to: equal seeds give four different tensors.
enum class Role : std::uint64_t { q = 1, k, v, dout };

/// A well-mixed word of a counter (SplitMix64, Steele et al. 2014).
inline std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

/// Mean 0, variance 1, within +-3.5, bell-shaped (four uniforms): the same everywhere for the same arguments.
inline double random_value(std::uint64_t seed, Role role, std::int64_t b, std::int64_t pos, std::int64_t head,
                           std::int64_t d) {
  std::uint64_t word = mix(seed * 8 + static_cast<std::uint64_t>(role));
  for (const std::int64_t coordinate : {b, pos, head, d}) word = mix(word ^ static_cast<std::uint64_t>(coordinate));
  double sum = 0;
  for (int shift = 0; shift < 64; shift += 16) sum += static_cast<double>((word >> shift) & 0xffffU) / 65535 - 0.5;
  return sum * std::sqrt(3.0);
}

/// A dense tensor [batch, rows, heads, head_dim] that owns its memory.
class Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, std::int64_t batch, std::int64_t rows, std::int64_t heads, std::int64_t head_dim)
      : bytes_(static_cast<std::int64_t>(
            checked_product({batch, rows, heads, head_dim, static_cast<std::int64_t>(size_of(dtype))}))),
        view_(dense_view(bytes_.data(), dtype, batch, rows, heads, head_dim)) {
    bytes_.clear();
  }
  const TensorView& view() const { return view_; }

 private:
  Buffer<std::byte> bytes_;
  TensorView view_;
};

/// The elements of a view in dense bshd order, as doubles.
inline std::vector<double> values(const ConstTensorView& view) {
  std::vector<double> result;
  with_dtype(view.dtype, [&](auto element) {
    for (std::int64_t b = 0; b < view.batch; ++b) {
      for (std::int64_t row = 0; row < view.rows; ++row) {
        for (std::int64_t head = 0; head < view.heads; ++head) {
          const auto* from = view.at<decltype(element)>(b, row, head);
          for (std::int64_t d = 0; d < view.head_dim; ++d) result.push_back(to_double(from[d]));
        }
      }
    }
  });
  return result;
}

/// Writes `scale` times the random values of these global positions to the rows of a view of any dtype and strides.
inline void fill_random(const TensorView& view, std::uint64_t seed, Role role, std::span<const std::int64_t> positions,
                        double scale = 1) {
  with_dtype(view.dtype, [&](auto element) {
    using T = decltype(element);
    for (std::int64_t b = 0; b < view.batch; ++b) {
      for (std::int64_t row = 0; row < view.rows; ++row) {
        const std::int64_t pos = positions[static_cast<std::size_t>(row)];
        for (std::int64_t head = 0; head < view.heads; ++head) {
          T* to = view.at<T>(b, row, head);
          for (std::int64_t d = 0; d < view.head_dim; ++d) {
            to[d] = from_double<T>(scale * random_value(seed, role, b, pos, head, d));
          }
        }
      }
    }
  });
}

/// The rows of one shard (or with all_positions the whole tensor).
inline Tensor random_tensor(DType dtype, std::uint64_t seed, Role role, std::int64_t batch,
                            std::span<const std::int64_t> positions, std::int64_t heads, std::int64_t head_dim,
                            double scale = 1) {
  Tensor tensor(dtype, batch, static_cast<std::int64_t>(positions.size()), heads, head_dim);
  fill_random(tensor.view(), seed, role, positions, scale);
  return tensor;
}

inline std::vector<std::int64_t> all_positions(std::int64_t seq_len) {
  std::vector<std::int64_t> positions(static_cast<std::size_t>(seq_len));
  std::iota(positions.begin(), positions.end(), std::int64_t{0});
  return positions;
}

/// The rows at `positions` of a dense [batch, seq, row_size] array, e.g. an oracle's out with row_size heads *
/// head_dim.
inline std::vector<double> select_rows(const std::vector<double>& whole, std::int64_t batch, std::int64_t seq,
                                       std::int64_t row_size, std::span<const std::int64_t> positions) {
  std::vector<double> rows;
  for (std::int64_t b = 0; b < batch; ++b) {
    for (const std::int64_t pos : positions) {
      const auto row = whole.begin() + (b * seq + pos) * row_size;
      rows.insert(rows.end(), row, row + row_size);
    }
  }
  return rows;
}

/// The columns at `positions` of a dense [batch, heads, seq] array: an oracle's lse.
inline std::vector<double> select_stats(const std::vector<double>& whole, std::int64_t batch, std::int64_t heads,
                                        std::int64_t seq, std::span<const std::int64_t> positions) {
  return select_rows(whole, batch * heads, seq, 1, positions);
}

}  // namespace annulus::test
