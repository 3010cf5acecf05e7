/// A tensor whose view starts off alignment and has gaps filled with NaN: reading a gap shows, writing one is found.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <vector>

#include "kernels/base/buffer.hpp"
#include "kernels/base/view.hpp"

namespace annulus::test {

enum class Gaps { none, everywhere };

class PaddedTensor {
 public:
  PaddedTensor(Gaps gaps, DType dtype, std::int64_t batch, std::int64_t rows, std::int64_t heads,
               std::int64_t head_dim) {
    const bool open = gaps == Gaps::everywhere;
    view_ = dense_view<std::byte>(nullptr, dtype, batch, rows, heads, head_dim);
    if (open) {
      view_.head_stride = head_dim + 3;
      view_.row_stride = heads * view_.head_stride + 5;
      view_.batch_stride = rows * view_.row_stride + 7;
    }
    const std::int64_t lead = open ? 1 : 0;
    bytes_ = Buffer<std::byte>((lead + batch * view_.batch_stride + lead) * static_cast<std::int64_t>(size_of(dtype)));
    if (bytes_.size() == 0) return;
    std::memset(bytes_.data(), nan_byte, static_cast<std::size_t>(bytes_.size()));
    view_.data = bytes_.data() + lead * static_cast<std::int64_t>(size_of(dtype));
  }

  const TensorView& view() const { return view_; }

  /// True if no byte outside the view's elements has changed.
  bool gaps_untouched() const {
    std::vector<bool> covered(static_cast<std::size_t>(bytes_.size()));
    const auto width = view_.head_dim * static_cast<std::int64_t>(size_of(view_.dtype));
    for (std::int64_t b = 0; b < view_.batch; ++b) {
      for (std::int64_t row = 0; row < view_.rows; ++row) {
        for (std::int64_t head = 0; head < view_.heads; ++head) {
          const std::int64_t element = b * view_.batch_stride + row * view_.row_stride + head * view_.head_stride;
          const auto begin = (view_.data - bytes_.data()) + element * static_cast<std::int64_t>(size_of(view_.dtype));
          std::fill_n(covered.begin() + begin, width, true);
        }
      }
    }
    for (std::int64_t i = 0; i < bytes_.size(); ++i) {
      if (!covered[static_cast<std::size_t>(i)] && bytes_[i] != std::byte{nan_byte}) return false;
    }
    return true;
  }

 private:
  static constexpr unsigned char nan_byte = 0xff;  ///< repeated, a NaN in every element type
  Buffer<std::byte> bytes_;
  TensorView view_;
};

}  // namespace annulus::test
