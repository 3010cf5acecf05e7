/// Element types as HDF5 knows them, the 16-bit ones included.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "kernels/base/dtype.hpp"
#include "runtime/checkpoint/hdf5_handle.hpp"

namespace annulus::hdf5 {

/// The type as it lies in memory here (native byte order) or in files we write (little-endian).
enum class Place { memory, file };
Type type_of(DType dtype, Place place, const Context& context);

/// What a stored type holds, whatever its byte order; empty for anything that is no f32, f64, f16 or bf16.
std::optional<DType> dtype_of(hid_t stored);

/// True for signed integers of 32 or 64 bits.
bool is_signed_integer(hid_t stored);

}  // namespace annulus::hdf5
