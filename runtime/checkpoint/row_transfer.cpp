/// One hyperslab per run of rows and batch.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/row_transfer.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "kernels/base/buffer.hpp"
#include "runtime/checkpoint/hdf5_dtype.hpp"
#include "runtime/checkpoint/row_runs.hpp"
#include "runtime/comm/heartbeat.hpp"

namespace annulus::hdf5 {
namespace {

constexpr std::size_t max_dims = 4;

/// What a transfer selects in the dataset, and the staging that it fills or empties.
struct Selection {
  Space file;
  Space memory;
};

/// One value per dimension of the dataset. A dataset of three dimensions lacks the one that holds a single element: the
/// head of [batch, rows, width], the last of row statistics.
std::array<hsize_t, max_dims> in_file(std::array<std::int64_t, max_dims> values, int dims, int row_axis) {
  if (dims == 3 && row_axis == 1) values[2] = values[3];
  std::array<hsize_t, max_dims> result{};
  for (std::size_t i = 0; i < max_dims; ++i) result[i] = static_cast<hsize_t>(values[i]);
  return result;
}

Selection select(hid_t dataset, const StridedRows<const std::byte>& rows, std::int64_t batch, const RowRun& run,
                 const Context& context) {
  Space file(check(H5Dget_space(dataset), context, "find the extents in"));
  const int dims = check(H5Sget_simple_extent_ndims(file.get()), context, "find the extents in");
  std::array<std::int64_t, max_dims> start{batch, 0, 0, 0};
  std::array<std::int64_t, max_dims> stride{1, 1, 1, 1};
  std::array<std::int64_t, max_dims> count{1, 1, 1, 1};
  std::array<std::int64_t, max_dims> block = rows.extent;
  const auto axis = static_cast<std::size_t>(rows.row_axis);
  block[0] = 1;
  start[axis] = run.pos;
  stride[axis] = run.pos_stride;
  count[axis] = run.count;
  block[axis] = run.block;
  for (std::size_t i = 1; i < max_dims; ++i) {
    if (i != axis) stride[i] = block[i];  // HDF5 wants no block longer than its stride
  }
  check(H5Sselect_hyperslab(file.get(), H5S_SELECT_SET, in_file(start, dims, rows.row_axis).data(),
                            in_file(stride, dims, rows.row_axis).data(), in_file(count, dims, rows.row_axis).data(),
                            in_file(block, dims, rows.row_axis).data()),
        context, "select rows of");
  const auto elements = static_cast<hsize_t>(run.rows() * rows.row_elements());
  Space memory(check(H5Screate_simple(1, &elements, nullptr), context, "describe rows of"));
  return {std::move(file), std::move(memory)};
}

/// Calls move(selection, staging, range) for each transfer. `rows` is the shape; its data are not touched.
template <class Move>
void for_each_transfer(hid_t dataset, DType stored, std::span<const Piece> pieces,
                       const StridedRows<const std::byte>& rows, const Context& context, Move&& move) {
  const std::int64_t row_bytes =
      static_cast<std::int64_t>(checked_product({rows.row_elements(), static_cast<std::int64_t>(size_of(stored))}));
  if (row_bytes == 0) return;
  constexpr std::int64_t transfer_limit = std::numeric_limits<std::int32_t>::max();
  if (row_bytes > transfer_limit) {
    throw Error(context.code, "a row of '" + context.path + "' has " + std::to_string(row_bytes) +
                                  " bytes (HDF5 moves less than 2 GiB at once); try narrower rows");
  }
  const std::vector<RowRun> runs = plan_runs(pieces, std::max<std::int64_t>(1, staging_bytes / row_bytes));
  std::int64_t most_rows = 0;
  for (const RowRun& run : runs) most_rows = std::max(most_rows, run.rows());
  const Buffer<std::byte> staging(most_rows * row_bytes);
  for (std::int64_t batch = 0; batch < rows.extent[0]; ++batch) {
    for (const RowRun& run : runs) {
      Heartbeat::beat();
      move(select(dataset, rows, batch, run, context), staging.data(), RowRange{batch, run.row, run.rows()});
    }
  }
}

}  // namespace

void read_rows(hid_t dataset, DType stored, std::span<const Piece> pieces, const StridedRows<std::byte>& to,
               const Context& context) {
  const Type type = type_of(stored, Place::memory, context);
  const Properties transfer = independent_transfer(context);
  const StridedRows<const std::byte> shape{to.data, to.dtype, to.row_axis, to.extent, to.stride};
  for_each_transfer(
      dataset, stored, pieces, shape, context, [&](const Selection& selected, std::byte* staging, RowRange range) {
        check(H5Dread(dataset, type.get(), selected.memory.get(), selected.file.get(), transfer.get(), staging),
              context, "read rows of");
        unstage(staging, stored, range, to);
      });
}

void write_rows(hid_t dataset, DType stored, std::span<const Piece> pieces, const StridedRows<const std::byte>& from,
                const Context& context) {
  const Type type = type_of(stored, Place::memory, context);
  const Properties transfer = independent_transfer(context);
  for_each_transfer(
      dataset, stored, pieces, from, context, [&](const Selection& selected, std::byte* staging, RowRange range) {
        stage(from, range, staging, stored);
        check(H5Dwrite(dataset, type.get(), selected.memory.get(), selected.file.get(), transfer.get(), staging),
              context, "write rows of");
      });
}

}  // namespace annulus::hdf5
