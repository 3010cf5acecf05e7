/// What both passes keep on the device: the shape of the problem, the block in hand and the one before.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
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

/// A block on the device, with all that its kernels are told of it. There are two: while kernels read one, the next block
/// is copied to the other.
struct BlockRoom {
  explicit BlockRoom(Device& device)
      : block(device), spans(device), key_positions(device), query_plan(device), key_plan(device), filled(device), read(device) {}

  DeviceArray<std::byte> block;        ///< of a block in host memory
  const std::byte* packed = nullptr;   ///< the block, here or where the exchange has it
  DeviceArray<KeySpan> spans;
  DeviceArray<std::int64_t> key_positions;
  DevicePlan query_plan;
  DevicePlan key_plan;  ///< backward only
  DeviceEvent filled;   ///< by copies
  DeviceEvent read;     ///< by kernels
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

  /// Kernels see all uploads, or downloads all results, from here on.
  void show_uploads() { order(Line::copies, Line::kernels); }
  void show_results() { order(Line::kernels, Line::copies); }

  /// Puts a block's keys and values (unless they are there), positions and spans on the device, into the other room, once
  /// kernels have read what was there. `masked`: some pair has to be checked.
  void upload_block(const Block& block, const VisibleRows& visible, bool masked, const Progress& progress);
  /// The room of the last upload.
  BlockRoom& room() { return rooms_[turn_]; }
  const BlockRoom& room() const { return rooms_[turn_]; }
  /// Between them kernels read the room.
  void begin_kernels();
  void end_kernels() { room().read.record(Line::kernels); }

  Extents extents(const Block& block) const;
  MaskView mask(const VisibleRows& visible) const;
  ScoreArgs score() const;

 private:
  void order(Line first, Line then);
  void upload_spans(const VisibleRows& visible, const Progress& progress);

  Device& device_;
  Problem problem_;
  Resources resources_;
  std::int64_t width_;
  bool general_;
  std::array<BlockRoom, 2> rooms_;
  std::size_t turn_ = 0;
  DeviceEvent ordered_;
  DeviceArray<float> slopes_;
  DeviceArray<std::int64_t> query_positions_;
};

}  // namespace annulus::kernels::cuda
