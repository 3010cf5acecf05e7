/// A device of kernels/cuda without hardware: host memory, and launches emulated block by block.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <map>
#include <optional>
#include <vector>

#include "kernels/contract/attention.hpp"
#include "kernels/cuda/dispatch.hpp"
#include "tests/support/emulated_lines.hpp"
#include "tests/support/emulated_machine.hpp"

namespace annulus::test {

class EmulatedDevice final : public kernels::cuda::Device {
 public:
  static constexpr int few_processors = 2;  ///< so that persistent blocks have several places each

  /// With `hopper`, it runs those kernels where there are any.
  explicit EmulatedDevice(bool hopper) : hopper_(hopper) {
    for (const kernels::cuda::Line line : kernels::cuda::all_lines) streams_[static_cast<std::size_t>(line)] = {this, line};
  }

  void* allocate(std::int64_t bytes) override;
  void release(void* memory) noexcept override;
  void* allocate_for_peers(std::int64_t bytes) override { return allocate(bytes); }
  void release_for_peers(void* memory) noexcept override { release(memory); }
  void* allocate_pinned(std::int64_t bytes) override { return memory_.allocate(bytes); }
  void release_pinned(void* memory) noexcept override { memory_.release(memory); }
  void* create_event() override { return new Event; }
  void destroy_event(void* event) noexcept override { delete static_cast<Event*>(event); }
  void record(void* event, kernels::cuda::Line line) override { *static_cast<Event*>(event) = {lines_.here(line)}; }
  void wait(kernels::cuda::Line line, void* event) override { lines_.wait(line, static_cast<Event*>(event)->at); }
  /// Of a late line it is over when the host asks for the second time: who asks no more must not count on it.
  bool passed(void* event) override;
  void upload(void* to, const void* from, std::int64_t bytes, const Progress& progress) override;
  void download(void* to, const void* from, std::int64_t bytes, const Progress& progress) override;
  void copy(kernels::cuda::Line line, void* to, const void* from, std::int64_t bytes) override;
  void clear(kernels::cuda::Line line, void* to, std::int64_t bytes) override;
  void add(kernels::cuda::Line line, const kernels::cuda::AddArgs& args) override;
  void* native_stream(kernels::cuda::Line line) override { return &streams_[static_cast<std::size_t>(line)]; }
  /// Enqueues work on a line by what native_stream() returned for it.
  static void of_stream(void* stream, EmulatedLines::Work work) {
    const Stream& told = *static_cast<const Stream*>(stream);
    told.device->lines_.enqueue(told.line, std::move(work));
  }
  kernels::cuda::ForwardTiles forward_tiles(const kernels::cuda::KernelKind& kind) const override {
    return dispatch_.forward_tiles(kind);
  }
  kernels::cuda::BackwardTiles backward_tiles(const kernels::cuda::KernelKind& kind) const override {
    return dispatch_.backward_tiles(kind);
  }
  void forward(const kernels::cuda::KernelKind& kind, std::int64_t places,
               const kernels::cuda::ForwardArgs& args) override;
  void backward(const kernels::cuda::KernelKind& kind, kernels::cuda::Gradients wanted, std::int64_t blocks,
                const kernels::cuda::BackwardArgs& args) override;
  void finish(DType out, int width, const kernels::cuda::FinishArgs& args) override;
  void delta(const kernels::cuda::KernelKind& kind, const kernels::cuda::DeltaArgs& args) override;
  void order_dq(int width, std::int64_t rows, const kernels::cuda::DqRowsArgs& args) override;

  /// Work of another unit of the device, on the line of kernels.
  void enqueue_kernel(EmulatedLines::Work work) { lines_.enqueue(kernels::cuda::Line::kernels, std::move(work)); }
  /// Throws EmulationError unless all of it is memory of this device.
  void check_memory(const void* p, std::size_t bytes) { memory_.check(p, bytes, sizeof(float)); }

  /// Runs blocks and threads in the opposite order: nothing may change.
  void set_descending(bool descending) { descending_ = descending; }
  /// How many it has: who works where, and nothing else.
  void set_processors(int count) { dispatch_ = kernels::cuda::Dispatch(hopper_, count); }
  /// The line that works only when it must, if any: nothing may change, either.
  void set_late(std::optional<kernels::cuda::Line> late) { lines_.set_late(late); }
  void set_prompt(kernels::cuda::Line prompt) { lines_.set_prompt(prompt); }
  /// Works of a line that have not begun.
  std::int64_t pending(kernels::cuda::Line line) const { return lines_.pending(line); }
  /// Of all memory.
  void set_capacity(std::int64_t bytes) { capacity_ = bytes; }
  std::int64_t used() const { return used_; }

 private:
  struct Stream {
    EmulatedDevice* device = nullptr;
    kernels::cuda::Line line{};
  };
  struct Event {
    EmulatedLines::Event at{};
    bool asked = false;
  };
  template <class Kernel>
  void launch(std::int64_t blocks, const typename Kernel::Args& args, kernels::cuda::Line line = kernels::cuda::Line::kernels);

  void bury();

  EmulatedMemory memory_;
  std::map<void*, std::int64_t> sizes_;
  std::vector<void*> released_;  ///< but told of to a line that has not come so far
  std::int64_t capacity_ = std::numeric_limits<std::int64_t>::max();
  std::int64_t used_ = 0;
  EmulatedLines lines_;
  EmulatedBlock block_{memory_};
  bool hopper_;
  kernels::cuda::Dispatch dispatch_{hopper_, few_processors};
  std::array<Stream, kernels::cuda::all_lines.size()> streams_;
  bool descending_ = false;
};

/// The CUDA row on an emulated device, under a name of its own: "cuda-emulated", or "cuda-emulated-hopper".
const kernels::KernelTable& emulated_table(bool hopper = false);
/// The latter, always deterministic: "cuda-emulated-hopper-deterministic".
const kernels::KernelTable& deterministic_table();
EmulatedDevice& emulated_device(bool hopper = false);

}  // namespace annulus::test
