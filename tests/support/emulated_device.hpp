/// A device of kernels/cuda without hardware: host memory, every launch emulated block by block when it is made.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/contract/attention.hpp"
#include "kernels/cuda/dispatch.hpp"
#include "tests/support/emulated_machine.hpp"

namespace annulus::test {

class EmulatedDevice final : public kernels::cuda::Device {
 public:
  /// With `hopper`, it runs those kernels where there are any.
  explicit EmulatedDevice(bool hopper) : dispatch_(hopper) {}

  void* allocate(std::int64_t bytes) override { return memory_.allocate(bytes); }
  void release(void* memory) noexcept override { memory_.release(memory); }
  void upload(void* to, const void* from, std::int64_t bytes, const Progress& progress) override;
  void download(void* to, const void* from, std::int64_t bytes, const Progress& progress) override;
  kernels::cuda::ForwardTiles forward_tiles(const kernels::cuda::KernelKind& kind) const override {
    return dispatch_.forward_tiles(kind);
  }
  kernels::cuda::BackwardTiles backward_tiles(const kernels::cuda::KernelKind& kind) const override {
    return dispatch_.backward_tiles(kind);
  }
  void forward(const kernels::cuda::KernelKind& kind, std::int64_t blocks,
               const kernels::cuda::ForwardArgs& args) override;
  void backward(const kernels::cuda::KernelKind& kind, kernels::cuda::Gradients wanted, std::int64_t blocks,
                const kernels::cuda::BackwardArgs& args) override;
  void finish(DType out, int width, const kernels::cuda::FinishArgs& args) override;
  void delta(const kernels::cuda::KernelKind& kind, const kernels::cuda::DeltaArgs& args) override;

  /// Runs blocks and threads in the opposite order: nothing may change.
  void set_descending(bool descending) { descending_ = descending; }

 private:
  template <class Kernel>
  void launch(std::int64_t blocks, const typename Kernel::Args& args);

  EmulatedMemory memory_;
  EmulatedBlock block_{memory_};
  kernels::cuda::Dispatch dispatch_;
  bool descending_ = false;
};

/// The CUDA row on an emulated device, under a name of its own: "cuda-emulated", or "cuda-emulated-hopper".
const kernels::KernelTable& emulated_table(bool hopper = false);
EmulatedDevice& emulated_device(bool hopper = false);

}  // namespace annulus::test
