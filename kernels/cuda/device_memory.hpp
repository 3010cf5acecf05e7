/// Memory that may lie on a device: whose it is, and copies of rows from and to it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace annulus::kernels::cuda {

/// Rows of `row_bytes`; pitches are bytes from row to row, at least `row_bytes` where there are several.
struct RowCopy {
  void* to;
  std::int64_t to_pitch;
  const void* from;
  std::int64_t from_pitch;
  std::int64_t row_bytes;
  std::int64_t rows;
};

/// The CUDA runtime implements it (cuda_memory), and tests. `stream` is a cudaStream_t; null is the default stream.
struct DeviceMemory {
  /// True if the host cannot read it. Managed and pinned memory it can.
  bool (*holds)(const void* p);
  /// Enqueued on `stream`; one side lies in host memory.
  void (*copy)(const RowCopy& rows, void* stream);
  /// Waits for all that `stream` was told.
  void (*synchronize)(void* stream);
};

/// Holds nothing where this process sees no GPU.
const DeviceMemory& cuda_memory();

}  // namespace annulus::kernels::cuda
