/// The row kernels of every type and width: they are small, and any result type may be asked for.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/row_kernels.hpp"

#include "kernels/cuda/hopper_query_share.hpp"
#include "kernels/cuda/launch.cuh"

namespace annulus::kernels::cuda {

#define ANNULUS_ROW_KERNELS(T, width)                                                          \
  template void launch<FinishKernel<T, width>>(std::int64_t, const FinishArgs&, CUstream_st*); \
  template void launch<DeltaKernel<T, width>>(std::int64_t, const DeltaArgs&, CUstream_st*);

#define ANNULUS_ALL_WIDTHS(T) \
  ANNULUS_ROW_KERNELS(T, 64)  \
  ANNULUS_ROW_KERNELS(T, 128) \
  ANNULUS_ROW_KERNELS(T, 256)

ANNULUS_ALL_WIDTHS(bf16)
ANNULUS_ALL_WIDTHS(f16)
ANNULUS_ALL_WIDTHS(float)

template void launch<AddKernel>(std::int64_t, const AddArgs&, CUstream_st*);
template void launch<DqRowsKernel<64>>(std::int64_t, const DqRowsArgs&, CUstream_st*);
template void launch<DqRowsKernel<128>>(std::int64_t, const DqRowsArgs&, CUstream_st*);

}  // namespace annulus::kernels::cuda
