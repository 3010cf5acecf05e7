/// What the passes ask of a device: memory, copies, launches, and the order between them. The CUDA runtime implements it
/// (cuda_device), and the emulator of the tests.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <utility>

#include "kernels/base/checked.hpp"
#include "kernels/base/dtype.hpp"
#include "kernels/base/workers.hpp"
#include "kernels/cuda/args.hpp"
#include "kernels/cuda/backward_rows.hpp"

namespace annulus::kernels::cuda {

/// Which instance of a family of kernels.
struct KernelKind {
  DType dtype;
  int width;
  bool general;  ///< scores follow the general rule
};

/// How a forward kernel cuts queries and keys.
struct ForwardTiles {
  int rows;
  int keys;
};

/// How backward kernels cut rows, the side whose gradients they keep, and columns.
struct BackwardTiles {
  int rows;
  int columns;
  bool one_sum;    ///< dK and dV are two launches
  bool can_fuse;   ///< one launch may do it all (Gradients::all), with the same tiles
};

/// A device works along lines: each keeps its own order, and none knows of another but through events.
enum class Line {
  copies,      ///< uploads and downloads of a pass
  kernels,
  blocks_in,   ///< blocks that come from other ranks
  blocks_out,  ///< blocks that leave
  sums_in,     ///< sums of gradients that come from other ranks
  sums_out     ///< adds to them, and their departure
};
inline constexpr std::array all_lines{Line::copies,     Line::kernels, Line::blocks_in,
                                      Line::blocks_out, Line::sums_in, Line::sums_out};

/// Throws ResourceError: the device has no `bytes` left.
[[noreturn]] void refuse_memory(std::int64_t bytes, std::uint64_t free, std::uint64_t total);

class Device {
 public:
  virtual ~Device() = default;

  /// Not null; aligned to 256 bytes; all lines may use it from here on. Throws ResourceError with the bytes asked for,
  /// free and in all.
  virtual void* allocate(std::int64_t bytes) = 0;
  /// What the lines have been told so far may still use it.
  virtual void release(void* memory) noexcept = 0;
  /// The same of memory that MPI and network cards may open, which memory of a stream's pool is not for everywhere
  /// (CUDA programming guide, stream-ordered memory allocator). Both wait for the device: for what lasts.
  virtual void* allocate_for_peers(std::int64_t bytes) = 0;
  virtual void release_for_peers(void* memory) noexcept = 0;
  /// Host memory that copy() takes. Throws ResourceError or CudaError.
  virtual void* allocate_pinned(std::int64_t bytes) = 0;
  /// No copy may be on its way from or to it.
  virtual void release_pinned(void* memory) noexcept = 0;

  /// Of DeviceEvent.
  virtual void* create_event() = 0;
  virtual void destroy_event(void* event) noexcept = 0;
  /// The event is over when all that `line` has been told so far is done.
  virtual void record(void* event, Line line) = 0;
  /// What `line` is told from here on begins when the event, as recorded last, is over; at once if it never was.
  virtual void wait(Line line, void* event) = 0;
  /// True if the event, as recorded last, is over, or never was recorded. Does not block.
  virtual bool passed(void* event) = 0;

  /// On the line of copies. `from` has been read when this returns; the copy itself may still be on its way. Calls
  /// `progress` while it waits.
  virtual void upload(void* to, const void* from, std::int64_t bytes, const Progress& progress) = 0;
  /// On the line of copies. `to` has been written when this returns.
  virtual void download(void* to, const void* from, std::int64_t bytes, const Progress& progress) = 0;

  /// Enqueued on `line`. Each side is memory of the device, or pinned.
  virtual void copy(Line line, void* to, const void* from, std::int64_t bytes) = 0;
  virtual void clear(Line line, void* to, std::int64_t bytes) = 0;
  virtual void add(Line line, const AddArgs& args) = 0;
  /// The line as a cudaStream_t, for libraries that enqueue there themselves.
  virtual void* native_stream(Line line) = 0;

  /// Of the kernels that forward() and backward() launch for `kind`.
  virtual ForwardTiles forward_tiles(const KernelKind& kind) const = 0;
  virtual BackwardTiles backward_tiles(const KernelKind& kind) const = 0;
  /// On the line of kernels. Enqueue `blocks` > 0 blocks, forward as many as its places need. Throw UsageError where this
  /// build lacks the instance.
  virtual void forward(const KernelKind& kind, std::int64_t places, const ForwardArgs& args) = 0;
  virtual void backward(const KernelKind& kind, Gradients wanted, std::int64_t blocks, const BackwardArgs& args) = 0;
  /// One warp per row; `out` is the type of FinishArgs::out.
  virtual void finish(DType out, int width, const FinishArgs& args) = 0;
  virtual void delta(const KernelKind& kind, const DeltaArgs& args) = 0;
  /// Of a dQ of `rows` rows, which Gradients::all has added up.
  virtual void order_dq(int width, std::int64_t rows, const DqRowsArgs& args) = 0;
};

/// A point in a line of a device that outlives it.
class DeviceEvent {
 public:
  explicit DeviceEvent(Device& device) : device_(device), event_(device.create_event()) {}
  ~DeviceEvent() { device_.destroy_event(event_); }
  DeviceEvent(const DeviceEvent&) = delete;
  DeviceEvent& operator=(const DeviceEvent&) = delete;

  void record(Line line) { device_.record(event_, line); }
  void hold(Line line) const { device_.wait(line, event_); }
  bool passed() const { return device_.passed(event_); }

 private:
  Device& device_;
  void* event_;
};

/// Owned memory of a device that outlives it; grows, never shrinks.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(Device& device) : device_(device) {}
  DeviceArray(Device& device, std::int64_t size) : device_(device) { reserve(size); }
  ~DeviceArray() { clear(); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return data_; }
  /// Contents are lost if it has to grow.
  void reserve(std::int64_t size) {
    if (size <= size_) return;
    clear();
    data_ = static_cast<T*>(
        device_.allocate(static_cast<std::int64_t>(checked_product({size, static_cast<std::int64_t>(sizeof(T))}))));
    size_ = size;
  }
  void upload(std::span<const T> values, const Progress& progress) {
    reserve(static_cast<std::int64_t>(values.size()));
    if (!values.empty()) {
      device_.upload(data_, values.data(), static_cast<std::int64_t>(values.size_bytes()), progress);
    }
  }

 private:
  void clear() {
    if (data_ != nullptr) device_.release(std::exchange(data_, nullptr));
    size_ = 0;
  }

  Device& device_;
  T* data_ = nullptr;
  std::int64_t size_ = 0;
};

}  // namespace annulus::kernels::cuda
