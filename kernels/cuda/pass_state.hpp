/// What both passes keep on the device: the shape of the problem, the block in hand and its mask.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <vector>

#include "kernels/base/buffer.hpp"
#include "kernels/cuda/device.hpp"
#include "kernels/cuda/geometry.hpp"
#include "kernels/cuda/tile_plan.hpp"

namespace annulus::kernels::cuda {

/// A tile plan on the device.
class DevicePlan {
 public:
  explicit DevicePlan(Device& device) : order_(device), offsets_(device), runs_(device) {}
  void upload(const TilePlan& plan, const Progress& progress);
  std::int64_t tiles() const { return tiles_; }
  TilePlanView view() const { return {order_.data(), offsets_.data(), runs_.data()}; }

 private:
  DeviceArray<std::int32_t> order_;
  DeviceArray<std::int32_t> offsets_;
  DeviceArray<TileRun> runs_;
  std::int64_t tiles_ = 0;
};

class PassState {
 public:
  PassState(Device& device, const Problem& problem, Resources resources);

  const Problem& problem() const { return problem_; }
  Device& device() const { return device_; }
  Workers& workers() const { return resources_.workers; }
  KernelKind kind() const { return {problem_.dtype, static_cast<int>(width_), general_}; }
  std::int64_t width() const { return width_; }
  std::int64_t padded_rows() const { return padded_query_rows(problem_.q_rows); }
  std::int64_t pairs() const { return problem_.batch * problem_.heads; }
  /// Of arrays [batch][heads][padded_rows].
  std::int64_t rows() const { return pairs() * padded_rows(); }
  template <class T>
  Buffer<T> host(std::int64_t size) const {
    return Buffer<T>(size, resources_.memory);
  }

  /// A tensor like q as [batch][heads][padded_rows][width] of `dtype` on the device.
  void upload_queries(const ConstTensorView& view, DType dtype, DeviceArray<std::byte>& to) const;

  /// Puts a block's keys, values, positions and spans on the device. `masked`: some pair has to be checked.
  void upload_block(const Block& block, const VisibleRows& visible, bool masked, const Progress& progress);
  Extents extents(const Block& block) const;
  MaskView mask(const VisibleRows& visible) const;
  ScoreArgs score() const;
  const std::byte* block() const { return block_.data(); }

 private:
  void upload_spans(const VisibleRows& visible, const Progress& progress);

  Device& device_;
  Problem problem_;
  Resources resources_;
  std::int64_t width_;
  bool general_;
  DeviceArray<std::byte> block_;
  DeviceArray<KeySpan> spans_;
  DeviceArray<float> slopes_;
  DeviceArray<std::int64_t> query_positions_;
  DeviceArray<std::int64_t> key_positions_;
};

}  // namespace annulus::kernels::cuda
