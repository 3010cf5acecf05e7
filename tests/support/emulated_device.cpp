/// Emulated launches of all instances.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/emulated_device.hpp"

#include <algorithm>

#include "kernels/cuda/instances.hpp"
#include "kernels/cuda/passes.hpp"

namespace annulus::test {

using namespace kernels::cuda;

namespace {
template <bool hopper>
Device& find_device() {
  return emulated_device(hopper);
}

TensorMap map_of(const void* data, int width, std::int64_t rows, std::int64_t planes, int box_rows) {
  return EmulatedTensorMap{static_cast<const std::uint16_t*>(data), width, rows, planes, box_rows}.opaque();
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
void EmulatedDevice::launch(std::int64_t blocks, const typename Kernel::Args& args, int shared_limit) {
  if (Kernel::shared_bytes > shared_limit) throw EmulationError("more shared memory than a block may have");
  for (std::int64_t i = 0; i < blocks; ++i) {
    const std::int64_t block = descending_ ? blocks - 1 - i : i;
    block_.run(Kernel::threads, Kernel::shared_bytes, descending_, [&](int thread) {
      EmulatedMachine machine(block_, thread, block);
      Kernel::run(machine, args);
    });
  }
}

bool EmulatedDevice::on_hopper(const KernelKind& kind) const { return hopper_ && has_hopper_kernel(kind); }

ForwardTiles EmulatedDevice::forward_tiles(const KernelKind& kind) const {
  ForwardTiles tiles{};
  const auto take = [&]<class Kernel>() { tiles = tiles_of<Kernel>(); };
  if (on_hopper(kind)) {
    with_hopper_forward_kernel(kind, take);
  } else {
    with_forward_kernel(kind, take);
  }
  return tiles;
}

void EmulatedDevice::forward(const KernelKind& kind, std::int64_t blocks, const ForwardArgs& args) {
  if (!on_hopper(kind)) return with_forward_kernel(kind, [&]<class Kernel>() { launch<Kernel>(blocks, args); });
  const Extents& extents = args.extents;
  const std::int64_t pairs = std::int64_t{extents.batch} * extents.heads;
  with_hopper_forward_kernel(kind, [&]<class Kernel>() {
    const HopperForwardArgs mapped{
        args, map_of(args.q, kind.width, extents.padded_rows, pairs, Kernel::rows),
        map_of(args.block, kind.width, extents.key_rows, pairs / extents.group * 2, Kernel::keys)};
    launch<Kernel>(blocks, mapped, 227 * 1024);
  });
}

void EmulatedDevice::backward(const KernelKind& kind, Gradients wanted, std::int64_t blocks, const BackwardArgs& args) {
  with_backward_kernel(kind, wanted, [&]<class Kernel>() { launch<Kernel>(blocks, args); });
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
