/// Emulated launches of all instances.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/emulated_device.hpp"

#include <algorithm>
#include <utility>

#include "kernels/cuda/passes.hpp"

namespace annulus::test {

using namespace kernels::cuda;

namespace {
template <bool hopper>
Device& find_device() {
  return emulated_device(hopper);
}

TensorMap map_of(const void* data, DType, int columns, std::int64_t rows, std::int64_t planes, int box_rows) {
  return EmulatedTensorMap{static_cast<const std::uint16_t*>(data), columns, rows, planes, box_rows}.opaque();
}

}  // namespace

void* EmulatedDevice::allocate(std::int64_t bytes) {
  if (bytes > capacity_ - used_) {
    refuse_memory(bytes, static_cast<std::uint64_t>(capacity_ - used_), static_cast<std::uint64_t>(capacity_));
  }
  void* const memory = memory_.allocate(bytes);
  sizes_[memory] = bytes;
  used_ += bytes;
  return memory;
}

void EmulatedDevice::release(void* memory) noexcept {
  used_ -= sizes_.at(memory);
  sizes_.erase(memory);
  released_.push_back(memory);
  bury();
}

/// Lets memory go that nobody will touch any more.
void EmulatedDevice::bury() {
  if (!lines_.idle()) return;
  for (void* const memory : released_) memory_.release(memory);
  released_.clear();
}

void EmulatedDevice::upload(void* to, const void* from, std::int64_t bytes, const Progress& progress) {
  const auto* const begin = static_cast<const std::byte*>(from);
  lines_.enqueue(Line::copies, [this, to, values = std::vector<std::byte>(begin, begin + bytes)] {
    memory_.check(to, values.size(), 1);
    std::ranges::copy(values, static_cast<std::byte*>(to));
  });
  if (progress) progress();
}

void EmulatedDevice::download(void* to, const void* from, std::int64_t bytes, const Progress& progress) {
  lines_.enqueue(Line::copies, [&] {
    memory_.check(from, static_cast<std::size_t>(bytes), 1);
    std::copy_n(static_cast<const std::byte*>(from), bytes, static_cast<std::byte*>(to));
  });
  lines_.finish(lines_.here(Line::copies));
  bury();
  if (progress) progress();
}

bool EmulatedDevice::passed(void* event) {
  Event& asked = *static_cast<Event*>(event);
  if (std::exchange(asked.asked, true)) lines_.finish(asked.at);
  return lines_.is_over(asked.at);
}

void EmulatedDevice::copy(Line line, void* to, const void* from, std::int64_t bytes) {
  lines_.enqueue(line, [=, this] {
    memory_.check(to, static_cast<std::size_t>(bytes), 1);
    memory_.check(from, static_cast<std::size_t>(bytes), 1);
    std::copy_n(static_cast<const std::byte*>(from), bytes, static_cast<std::byte*>(to));
  });
}

void EmulatedDevice::clear(Line line, void* to, std::int64_t bytes) {
  lines_.enqueue(line, [=, this] {
    memory_.check(to, static_cast<std::size_t>(bytes), 1);
    std::fill_n(static_cast<std::byte*>(to), bytes, std::byte{});
  });
}

void EmulatedDevice::add(Line line, const AddArgs& args) {
  launch<AddKernel>(ceil_div(args.quads, AddKernel::threads), args, line);
}

template <class Kernel>
void EmulatedDevice::launch(std::int64_t blocks, const typename Kernel::Args& args, Line line) {
  constexpr bool for_hopper = is_hopper_kernel<Kernel>;
  static_assert(Kernel::shared_bytes <= (for_hopper ? 227 : 99) * 1024);
  lines_.enqueue(line, [this, blocks, args] {
    for (std::int64_t i = 0; i < blocks; ++i) {
      const std::int64_t block = descending_ ? blocks - 1 - i : i;
      block_.run(Kernel::threads, Kernel::shared_bytes, descending_, [&](int thread) {
        EmulatedMachine machine(block_, thread, block, blocks);
        Kernel::run(machine, args);
      });
    }
    block_.settle();
  });
}

void EmulatedDevice::forward(const KernelKind& kind, std::int64_t places, const ForwardArgs& args) {
  dispatch_.forward(kind, places, args, map_of,
                    [&]<class Kernel>(std::int64_t blocks, const auto& own) { launch<Kernel>(blocks, own); });
}

void EmulatedDevice::backward(const KernelKind& kind, Gradients wanted, std::int64_t blocks, const BackwardArgs& args) {
  dispatch_.backward(kind, wanted, args, map_of, [&]<class Kernel>(const auto& own) { launch<Kernel>(blocks, own); });
}

void EmulatedDevice::finish(DType out, int width, const FinishArgs& args) {
  const std::int64_t rows = std::int64_t{args.batch} * args.heads * args.rows;
  with_finish_kernel(out, width, [&]<class Kernel>() { launch<Kernel>(ceil_div(rows, Kernel::warps), args); });
}

void EmulatedDevice::delta(const KernelKind& kind, const DeltaArgs& args) {
  with_delta_kernel(kind, [&]<class Kernel>() { launch<Kernel>(ceil_div(args.rows, Kernel::warps), args); });
}

void EmulatedDevice::order_dq(int width, std::int64_t rows, const DqRowsArgs& args) {
  with_dq_rows_kernel(width, [&]<class Kernel>() { launch<Kernel>(rows * width / Kernel::Shares::tile, args); });
}

EmulatedDevice& emulated_device(bool hopper) {
  static EmulatedDevice ampere_device(false);
  static EmulatedDevice hopper_device(true);
  return hopper ? hopper_device : ampere_device;
}

const kernels::KernelTable& emulated_table(bool hopper) {
  static const kernels::KernelTable ampere_row = device_row<find_device<false>>("cuda-emulated", "");
  static const kernels::KernelTable hopper_row = device_row<find_device<true>>("cuda-emulated-hopper", "");
  return hopper ? hopper_row : ampere_row;
}

const kernels::KernelTable& deterministic_table() {
  static const kernels::KernelTable row = [] {
    kernels::KernelTable table = emulated_table(true);
    table.name = "cuda-emulated-hopper-deterministic";
    table.backward = [](const kernels::Problem& problem, const kernels::BackwardInputs& inputs, kernels::Resources resources) {
      resources.deterministic = true;
      return make_backward(emulated_device(true), problem, inputs, resources);
    };
    return table;
  }();
  return row;
}

}  // namespace annulus::test
