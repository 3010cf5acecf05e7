/// From the names of kernels (KernelKind) to their types: the one list of instances, for every launcher.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/backward_block.hpp"
#include "kernels/cuda/device.hpp"
#include "kernels/cuda/forward_block.hpp"
#include "kernels/cuda/hopper_backward_block.hpp"
#include "kernels/cuda/hopper_forward_block.hpp"
#include "kernels/cuda/row_kernels.hpp"

namespace annulus::kernels::cuda {

/// Calls launch(T{}, std::integral_constant<int, width>{}) for T and width as `kind` names them.
template <class Launch>
void with_element_and_width(DType dtype, int width, Launch&& launch) {
  const auto with_width = [&](auto element) {
    switch (width) {
      case widths[0]: return launch(element, std::integral_constant<int, widths[0]>{});
      case widths[1]: return launch(element, std::integral_constant<int, widths[1]>{});
      default: return launch(element, std::integral_constant<int, widths[2]>{});
    }
  };
  switch (dtype) {
    case DType::bf16: return with_width(bf16{});
    case DType::f16: return with_width(f16{});
    default: return with_width(float{});
  }
}

/// Calls launch.operator()<Kernel>() for the kernel type.
template <class Launch>
void with_forward_kernel(const KernelKind& kind, Launch&& launch) {
  with_element_and_width(kind.dtype, kind.width, [&](auto element, auto width) {
    using T = decltype(element);
    if (kind.general) return launch.template operator()<ForwardKernel<T, decltype(width)::value, true>>();
    return launch.template operator()<ForwardKernel<T, decltype(width)::value, false>>();
  });
}

/// Gradients::all only where fuses_backward() holds.
template <template <class, int, bool, Gradients> class Kernel, class T, int width, bool general, class Launch>
void with_gradients(Gradients wanted, Launch&& launch) {
  if (wanted == Gradients::dq) return launch.template operator()<Kernel<T, width, general, Gradients::dq>>();
  if constexpr (Kernel<T, width, general, Gradients::dq>::can_fuse) {
    if (wanted == Gradients::all) return launch.template operator()<Kernel<T, width, general, Gradients::all>>();
  }
  if constexpr (Kernel<T, width, general, Gradients::dq>::one_sum) {
    if (wanted == Gradients::dk) return launch.template operator()<Kernel<T, width, general, Gradients::dk>>();
    return launch.template operator()<Kernel<T, width, general, Gradients::dv>>();
  } else {
    return launch.template operator()<Kernel<T, width, general, Gradients::dk_and_dv>>();
  }
}

template <class Launch>
void with_backward_kernel(const KernelKind& kind, Gradients wanted, Launch&& launch) {
  with_element_and_width(kind.dtype, kind.width, [&](auto element, auto width) {
    using T = decltype(element);
    if (kind.general) return with_gradients<BackwardKernel, T, decltype(width)::value, true>(wanted, launch);
    return with_gradients<BackwardKernel, T, decltype(width)::value, false>(wanted, launch);
  });
}

/// Hopper has kernels of its own for elements of 16 bits.
inline bool has_hopper_kernels(const KernelKind& kind) { return size_of(kind.dtype) == 2; }

/// As the functions above, for kinds that have such kernels.
template <class Launch>
void with_hopper_forward_kernel(const KernelKind& kind, Launch&& launch) {
  with_element_and_width(kind.dtype, kind.width, [&](auto element, auto width) {
    using T = decltype(element);
    if constexpr (sizeof(T) == 2) {
      if (kind.general) return launch.template operator()<HopperForwardKernel<T, decltype(width)::value, true>>();
      return launch.template operator()<HopperForwardKernel<T, decltype(width)::value, false>>();
    }
  });
}
template <class Launch>
void with_hopper_backward_kernel(const KernelKind& kind, Gradients wanted, Launch&& launch) {
  with_element_and_width(kind.dtype, kind.width, [&](auto element, auto width) {
    using T = decltype(element);
    if constexpr (sizeof(T) == 2) {
      if (kind.general) return with_gradients<HopperBackwardKernel, T, decltype(width)::value, true>(wanted, launch);
      return with_gradients<HopperBackwardKernel, T, decltype(width)::value, false>(wanted, launch);
    }
  });
}

/// Whether some kernel computes all gradients at once: where the registers hold the sums of dK and dV together.
inline bool fuses_backward(const KernelKind& kind) {
  bool can = false;
  with_hopper_backward_kernel(kind, Gradients::dq, [&]<class Kernel>() { can = Kernel::can_fuse; });
  return can;
}
template <class Launch>
void with_dq_rows_kernel(int width, Launch&& launch) {
  if (width == widths[0]) return launch.template operator()<DqRowsKernel<widths[0]>>();
  return launch.template operator()<DqRowsKernel<widths[1]>>();
}

template <class Launch>
void with_finish_kernel(DType out, int width, Launch&& launch) {
  with_element_and_width(out, width, [&](auto element, auto columns) {
    return launch.template operator()<FinishKernel<decltype(element), decltype(columns)::value>>();
  });
}

template <class Launch>
void with_delta_kernel(const KernelKind& kind, Launch&& launch) {
  with_element_and_width(kind.dtype, kind.width, [&](auto element, auto columns) {
    return launch.template operator()<DeltaKernel<decltype(element), decltype(columns)::value>>();
  });
}

}  // namespace annulus::kernels::cuda
