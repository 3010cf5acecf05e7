/// cuTensorMapEncodeTiled, found at run time: a program of ours starts on machines without a driver.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/tensor_map.hpp"

#include <cuda.h>
#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>

#include <bit>

#include "kernels/cuda/cuda_error.hpp"
#include "kernels/cuda/matrix_descriptor.hpp"

namespace annulus::kernels::cuda {
namespace {

using Encode = PFN_cuTensorMapEncodeTiled_v12000;

Encode find_encode() {
  constexpr unsigned since = 12000;
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  check_cuda(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, since, cudaEnableDefault, &found),
             "find cuTensorMapEncodeTiled");
  if (found != cudaDriverEntryPointSuccess) check_cuda(cudaErrorInsufficientDriver, "find cuTensorMapEncodeTiled");
  return reinterpret_cast<Encode>(function);
}

}  // namespace

TensorMap tensor_map(const void* data, DType dtype, int columns, std::int64_t rows, std::int64_t planes, int box_rows) {
  static const Encode encode = find_encode();
  const auto wide = [](std::int64_t x) { return static_cast<cuuint64_t>(x); };
  const std::int64_t row_bytes = columns * std::int64_t{2};
  const cuuint64_t extents[] = {wide(columns), wide(rows), wide(planes)};
  const cuuint64_t strides[] = {wide(row_bytes), wide(rows * row_bytes)};  // of rows and planes
  const cuuint32_t box[] = {slab_columns, static_cast<cuuint32_t>(box_rows), 1};
  const cuuint32_t steps[] = {1, 1, 1};
  CUtensorMap map;
  const CUresult code = encode(
      &map, dtype == DType::bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 3,
      const_cast<void*>(data), extents, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  check_cuda(code == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue, "describe a tensor to TMA");
  return std::bit_cast<TensorMap>(map);
}

}  // namespace annulus::kernels::cuda
