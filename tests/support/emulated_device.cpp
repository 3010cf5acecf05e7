/// Emulated launches of all instances.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/emulated_device.hpp"

#include <algorithm>

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

void EmulatedDevice::upload(void* to, const void* from, std::int64_t bytes, const Progress& progress) {
  memory_.check(to, static_cast<std::size_t>(bytes), 1);
  std::copy_n(static_cast<const std::byte*>(from), bytes, static_cast<std::byte*>(to));
  if (progress) progress();
}

void EmulatedDevice::download(void* to, const void* from, std::int64_t bytes, const Progress& progress) {
  memory_.check(from, static_cast<std::size_t>(bytes), 1);
  std::copy_n(static_cast<const std::byte*>(from), bytes, static_cast<std::byte*>(to));
  if (progress) progress();
}

template <class Kernel>
void EmulatedDevice::launch(std::int64_t blocks, const typename Kernel::Args& args) {
  constexpr bool for_hopper = is_hopper_kernel<Kernel>;
  static_assert(Kernel::shared_bytes <= (for_hopper ? 227 : 99) * 1024);
  for (std::int64_t i = 0; i < blocks; ++i) {
    const std::int64_t block = descending_ ? blocks - 1 - i : i;
    block_.run(Kernel::threads, Kernel::shared_bytes, descending_, [&](int thread) {
      EmulatedMachine machine(block_, thread, block);
      Kernel::run(machine, args);
    });
  }
}

void EmulatedDevice::forward(const KernelKind& kind, std::int64_t blocks, const ForwardArgs& args) {
  dispatch_.forward(kind, args, map_of, [&]<class Kernel>(const auto& own) { launch<Kernel>(blocks, own); });
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

}  // namespace annulus::test
