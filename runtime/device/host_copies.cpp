/// Copies head by head, so that any strides do.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/device/host_copies.hpp"

#include <string>

#include "kernels/base/checked.hpp"
#include "kernels/base/error.hpp"

namespace annulus {
namespace {

/// [batch, heads, rows] as a tensor with one head, whose rows are the heads.
template <class Byte, class Float>
BasicTensorView<Byte> as_tensor(const BasicRowStats<Float>& stats) {
  return {reinterpret_cast<Byte*>(stats.data), DType::f32,         stats.batch,       stats.heads, 1, stats.rows,
          stats.batch_stride,                  stats.head_stride, stats.rows};
}

template <class Float, class Byte>
BasicRowStats<Float> as_stats(const BasicTensorView<Byte>& view) {
  return {reinterpret_cast<Float*>(view.data), view.batch, view.rows, view.head_dim, view.batch_stride, view.row_stride};
}

}  // namespace

bool HostCopies::takes(const char* what, const ConstTensorView& view) const {
  if (view.data == nullptr || !device_.holds(view.data)) return false;
  if (!backend_.empty()) {
    throw UsageError(std::string(what) + " points to memory of a GPU (backend " + std::string(backend_) +
                     " reads host memory); try backend cuda, or copy it");
  }
  if (view.rows > 1 && view.row_stride < view.head_dim) {
    throw UsageError(std::string(what) + " has rows of " + std::to_string(view.head_dim) + " elements every " +
                     std::to_string(view.row_stride) + " (rows on a GPU may not overlap); try dense rows");
  }
  return true;
}

TensorView HostCopies::dense_like(const ConstTensorView& view) {
  const auto bytes = checked_product(
      {view.batch, view.rows, view.heads, view.head_dim, static_cast<std::int64_t>(size_of(view.dtype))});
  buffers_.emplace_back(static_cast<std::int64_t>(bytes));
  return dense_view(buffers_.back().data(), view.dtype, view.batch, view.rows, view.heads, view.head_dim);
}

void HostCopies::copy(const TensorView& to, const ConstTensorView& from) const {
  const auto element = static_cast<std::int64_t>(size_of(from.dtype));
  const std::int64_t row_bytes = from.head_dim * element;
  if (from.rows == 0 || row_bytes == 0) return;
  const auto pitch = [&](std::int64_t row_stride) { return from.rows > 1 ? row_stride * element : row_bytes; };
  for (std::int64_t b = 0; b < from.batch; ++b) {
    for (std::int64_t head = 0; head < from.heads; ++head) {
      const auto at = [&](const auto& view) { return view.data + (b * view.batch_stride + head * view.head_stride) * element; };
      device_.copy({at(to), pitch(to.row_stride), at(from), pitch(from.row_stride), row_bytes, from.rows}, stream_);
    }
  }
}

void HostCopies::read(const char* what, ConstTensorView& view) {
  if (!takes(what, view)) return;
  const TensorView host = dense_like(view);
  copy(host, view);
  view = host;
}

void HostCopies::read(const char* what, ConstRowStats& stats) {
  auto view = as_tensor<const std::byte>(stats);
  read(what, view);
  stats = as_stats<const float>(view);
}

void HostCopies::write(const char* what, TensorView& view) {
  if (!takes(what, view)) return;
  const TensorView host = dense_like(view);
  results_.push_back({host, view});
  view = host;
}

void HostCopies::write(const char* what, RowStats& stats) {
  auto view = as_tensor<std::byte>(stats);
  write(what, view);
  stats = as_stats<float>(view);
}

void HostCopies::ready() const {
  if (!buffers_.empty()) device_.synchronize(stream_);
}

void HostCopies::give_back() const {
  for (const Result& result : results_) copy(result.device, result.host);
  if (!results_.empty()) device_.synchronize(stream_);
}

}  // namespace annulus
