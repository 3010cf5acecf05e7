/// Moves a shard's rows between memory and a dataset, each rank alone, through bounded staging.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "runtime/checkpoint/hdf5_handle.hpp"
#include "runtime/checkpoint/staged_rows.hpp"
#include "runtime/layout/layout.hpp"

namespace annulus::hdf5 {

/// Local. The dataset's dims are those of the rows with all positions at the row axis; a dataset of three dimensions
/// lacks one that holds a single element: the head of [batch, rows, width], the last of row statistics.
void read_rows(hid_t dataset, DType stored, std::span<const Piece> pieces, const StridedRows<std::byte>& to,
               const Context& context);
void write_rows(hid_t dataset, DType stored, std::span<const Piece> pieces, const StridedRows<const std::byte>& from,
                const Context& context);

}  // namespace annulus::hdf5
