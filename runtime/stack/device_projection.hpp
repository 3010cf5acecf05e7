/// The projections of a stack on a GPU, in pieces of rows.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string_view>
#include <utility>

#include "kernels/base/buffer.hpp"
#include "kernels/contract/attention.hpp"
#include "kernels/cuda/matrix_unit.hpp"
#include "runtime/stack/model.hpp"
#include "runtime/stack/projection.hpp"

namespace annulus::stack {

/// Local, one thread. Weights and two pieces lie on the device; rows come and go through its copies, so that one piece is
/// multiplied while the host finishes the one before and fills the next.
class DeviceProjection {
 public:
  static constexpr std::int64_t piece_rows = 2048;

  struct Sizes {
    std::int64_t widest_row = 0;   ///< elements, of rows that go in or come out
    std::int64_t qkv_weights = 0;  ///< elements, of one layer
    std::int64_t out_weights = 0;
    std::int64_t kept_layers = 0;  ///< whose weights stay on the device, from layer 0 on; 0: each comes when its turn comes
  };
  static Sizes sizes(const ModelSpec& model);

  /// Takes all memory that it will need. `unit` outlives this. Throws ResourceError.
  DeviceProjection(kernels::cuda::MatrixUnit& unit, const Sizes& sizes);

  /// Leaves rows [first, first + count) in `room`, or elsewhere, and says where: dense [count, row width].
  using Fill = std::function<const float*(std::int64_t first, std::int64_t count, float* room)>;
  /// Takes the product's rows, which it may overwrite.
  using Take = std::function<void(std::int64_t first, std::int64_t count, float* result)>;
  /// Both are called for each piece in ascending order, `fill` for a piece before `take` for the one before.
  void run(const Projection& projection, std::int64_t rows, const Fill& fill, const Take& take);

  static std::uint64_t host_bytes(const Sizes& sizes);
  /// Of the weights on the device.
  static std::uint64_t weight_bytes(const Sizes& sizes);

 private:
  /// Which matrix of which layer.
  using Name = std::pair<std::int64_t, Matrix>;
  struct Weights {
    explicit Weights(kernels::cuda::Device& device) : values(device) {}
    Name name{-1, Matrix::qkv};
    kernels::cuda::DeviceArray<float> values;
  };
  /// A piece on the device.
  struct Room {
    explicit Room(kernels::cuda::Device& device) : in(device), out(device), filled(device), multiplied(device) {}
    kernels::cuda::DeviceArray<float> in;
    kernels::cuda::DeviceArray<float> out;
    kernels::cuda::DeviceEvent filled;
    kernels::cuda::DeviceEvent multiplied;
  };
  const float* weights_of(const Projection& projection);
  void multiply(const kernels::cuda::MatrixProduct& product, const float* rows, Room& room);
  float* fetch(const Projection& projection, std::int64_t count, const Room& room) const;

  kernels::cuda::MatrixUnit& unit_;
  bool keeps_all_;
  Buffer<float> in_;
  Buffer<float> out_;
  std::array<Room, 2> rooms_;
  std::map<Name, Weights> weights_;  ///< layer 0 stands for all if they take turns
};

/// Whether the stack of this build projects on the GPU when its backend is `backend`.
bool projects_on_gpu(std::string_view backend);
/// Null unless it does. Weights of all layers are kept on the GPU for backward if all `sharing` ranks together leave three
/// quarters of what is free there. Local. Throws ResourceError.
std::unique_ptr<DeviceProjection> gpu_projection(const ModelSpec& model, std::string_view backend,
                                                 kernels::Direction direction, int sharing);

}  // namespace annulus::stack
