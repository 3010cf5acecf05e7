/// Which kernels a device runs, what they cut, and what Hopper's are told beside: for every Device that launches.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <type_traits>

#include "kernels/cuda/instances.hpp"
#include "kernels/cuda/launch.hpp"

namespace annulus::kernels::cuda {

/// True for kernels that run on Hopper only.
template <class Kernel>
constexpr bool is_hopper_kernel =
    std::is_same_v<typename Kernel::Args, HopperForwardArgs> || std::is_same_v<typename Kernel::Args, HopperBackwardArgs>;

/// `hopper`: the device is one, and has its kernels. `processors`: how many blocks it runs at a time, if one fills a processor.
class Dispatch {
 public:
  Dispatch(bool hopper, int processors) : hopper_(hopper), processors_(processors) {}

  bool on_hopper(const KernelKind& kind) const { return hopper_ && has_hopper_kernels(kind); }

  ForwardTiles forward_tiles(const KernelKind& kind) const {
    ForwardTiles tiles{};
    const auto take = [&]<class Kernel>() { tiles = {Kernel::rows, Kernel::keys}; };
    on_hopper(kind) ? with_hopper_forward_kernel(kind, take) : with_forward_kernel(kind, take);
    return tiles;
  }
  BackwardTiles backward_tiles(const KernelKind& kind) const {
    BackwardTiles tiles{};
    const bool fused = on_hopper(kind) && fuses_backward(kind);
    const auto take = [&]<class Kernel>() { tiles = {Kernel::rows, Kernel::columns, Kernel::one_sum, fused}; };
    on_hopper(kind) ? with_hopper_backward_kernel(kind, Gradients::dq, take)
                    : with_backward_kernel(kind, Gradients::dq, take);
    return tiles;
  }

  /// Calls launch.operator()<Kernel>(blocks, its args) for `places` places. `map` makes tensor maps, as tensor_map
  /// (tensor_map.hpp).
  template <class Map, class Launch>
  void forward(const KernelKind& kind, std::int64_t places, const ForwardArgs& args, Map&& map, Launch&& launch) const {
    if (!on_hopper(kind)) {
      return with_forward_kernel(kind, [&]<class K>() { launch.template operator()<K>(places, args); });
    }
    check_grid(places);
    const Extents& extents = args.extents;
    with_hopper_forward_kernel(kind, [&]<class K>() {
      const std::int64_t blocks = std::min(places, std::int64_t{processors_} * K::blocks_per_processor);
      launch.template operator()<K>(
          blocks,
          HopperForwardArgs{args, map(args.q, kind.dtype, kind.width, extents.padded_rows, pairs(extents), K::rows),
                            map(args.block, kind.dtype, kind.width, extents.key_rows, planes(extents), K::keys),
                            static_cast<std::uint32_t>(places)});
    });
  }
  template <class Map, class Launch>
  void backward(const KernelKind& kind, Gradients wanted, const BackwardArgs& args, Map&& map, Launch&& launch) const {
    if (!on_hopper(kind)) {
      return with_backward_kernel(kind, wanted, [&]<class K>() { launch.template operator()<K>(args); });
    }
    const Extents& extents = args.extents;
    with_hopper_backward_kernel(kind, wanted, [&]<class K>() {
      const int of_queries = K::rows_are_keys ? K::columns : K::rows;
      const int of_keys = K::rows_are_keys ? K::rows : K::columns;
      launch.template operator()<K>(HopperBackwardArgs{
          args, map(args.q, kind.dtype, kind.width, extents.padded_rows, pairs(extents), of_queries),
          map(args.dout, kind.dtype, kind.width, extents.padded_rows, pairs(extents), of_queries),
          map(args.block, kind.dtype, kind.width, extents.key_rows, planes(extents), of_keys)});
    });
  }

 private:
  static std::int64_t pairs(const Extents& extents) { return std::int64_t{extents.batch} * extents.heads; }
  /// K and V of each (batch, kv head).
  static std::int64_t planes(const Extents& extents) { return pairs(extents) / extents.group * 2; }

  bool hopper_;
  int processors_;
};

}  // namespace annulus::kernels::cuda
