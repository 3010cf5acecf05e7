/// Pieces go up, are multiplied and come down, each beside the next.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/stack/device_projection.hpp"

#include <algorithm>

#include "kernels/base/checked.hpp"
#include "kernels/cuda/devices.hpp"

namespace annulus::stack {

using namespace kernels::cuda;

namespace {

/// Rows lie one behind the other in C's order, so BLAS, which counts down columns, sees each matrix transposed: where C has
/// y = x W^T, it has y^T = W x^T.
MatrixProduct product_of(const Projection& projection, std::int64_t count, const float* weights, const float* rows,
                         float* result) {
  return {.transpose_a = projection.way == Way::forward,
          .m = projection.to(),
          .n = count,
          .k = projection.from(),
          .a = weights,
          .a_stride = projection.in,
          .b = rows,
          .b_stride = projection.from(),
          .c = result,
          .c_stride = projection.to()};
}

}  // namespace

DeviceProjection::Sizes DeviceProjection::sizes(const ModelSpec& model) {
  const std::int64_t width = model.width();
  return {model.qkv_width(), model.qkv_width() * width, width * width, 0};
}

DeviceProjection::DeviceProjection(MatrixUnit& unit, const Sizes& sizes)
    : unit_(unit),
      keeps_all_(sizes.kept_layers > 0),
      in_(piece_rows * sizes.widest_row),
      out_(piece_rows * sizes.widest_row),
      rooms_{Room(unit.device()), Room(unit.device())} {
  for (Room& room : rooms_) {
    room.in.reserve(piece_rows * sizes.widest_row);
    room.out.reserve(piece_rows * sizes.widest_row);
  }
  for (std::int64_t layer = 0; layer < std::max<std::int64_t>(sizes.kept_layers, 1); ++layer) {
    weights_.try_emplace({layer, Matrix::qkv}, unit.device()).first->second.values.reserve(sizes.qkv_weights);
    weights_.try_emplace({layer, Matrix::out}, unit.device()).first->second.values.reserve(sizes.out_weights);
  }
}

std::uint64_t DeviceProjection::host_bytes(const Sizes& sizes) {
  return checked_product({2 * piece_rows, sizes.widest_row, sizeof(float)});
}

std::uint64_t DeviceProjection::weight_bytes(const Sizes& sizes) {
  return checked_product({std::max<std::int64_t>(sizes.kept_layers, 1), sizes.qkv_weights + sizes.out_weights, sizeof(float)});
}

void DeviceProjection::run(const Projection& projection, std::int64_t rows, const Fill& fill, const Take& take) {
  const float* const weights = weights_of(projection);
  const std::int64_t pieces = ceil_div(rows, piece_rows);
  const auto size = [&](std::int64_t piece) { return std::min(piece_rows, rows - piece * piece_rows); };
  const auto room = [&](std::int64_t piece) -> Room& { return rooms_[static_cast<std::size_t>(piece % 2)]; };
  for (std::int64_t piece = 0; piece <= pieces; ++piece) {
    const std::int64_t first = piece * piece_rows;
    if (piece < pieces) {
      const float* const filled = fill(first, size(piece), in_.data());
      multiply(product_of(projection, size(piece), weights, room(piece).in.data(), room(piece).out.data()), filled, room(piece));
    }
    if (piece == 0) continue;
    take(first - piece_rows, size(piece - 1), fetch(projection, size(piece - 1), room(piece - 1)));
  }
}

/// The room is free: what was multiplied here has been fetched.
void DeviceProjection::multiply(const MatrixProduct& product, const float* rows, Room& room) {
  unit_.device().upload(room.in.data(), rows, product.n * product.k * static_cast<std::int64_t>(sizeof(float)), {});
  room.filled.record(Line::copies);
  room.filled.hold(Line::kernels);
  unit_.multiply(product);
  room.multiplied.record(Line::kernels);
}

float* DeviceProjection::fetch(const Projection& projection, std::int64_t count, const Room& room) const {
  room.multiplied.hold(Line::copies);
  const std::int64_t bytes = count * projection.to() * static_cast<std::int64_t>(sizeof(float));
  unit_.device().download(out_.data(), room.out.data(), bytes, {});
  return out_.data();
}

/// Products that read other weights from here have been fetched, and the first product to read these waits for rows that are
/// uploaded behind them.
const float* DeviceProjection::weights_of(const Projection& projection) {
  const Name name{projection.layer, projection.matrix};
  Weights& weights = weights_.at(keeps_all_ ? name : Name{0, projection.matrix});
  if (weights.name != name) {
    weights.name = {-1, projection.matrix};  // in case the upload fails
    const auto size = static_cast<std::size_t>(projection.in * projection.out);
    weights.values.upload({projection.weights, size}, {});
    weights.name = name;
  }
  return weights.values.data();
}

bool projects_on_gpu(std::string_view backend) { return backend == "cuda" && has_cublas(); }

std::unique_ptr<DeviceProjection> gpu_projection(const ModelSpec& model, std::string_view backend,
                                                 kernels::Direction direction, int sharing) {
  if (!projects_on_gpu(backend)) return nullptr;
  constexpr std::uint64_t most = 4;  // the rest is for blocks and carries, which are allocated later
  DeviceProjection::Sizes sizes = DeviceProjection::sizes(model);
  sizes.kept_layers = model.layers;
  const std::uint64_t room = device_facts(current_device()).free_bytes / most / static_cast<std::uint64_t>(sharing);
  if (direction == kernels::Direction::forward || DeviceProjection::weight_bytes(sizes) > room) sizes.kept_layers = 0;
  return std::make_unique<DeviceProjection>(cublas_unit(), sizes);
}

}  // namespace annulus::stack
