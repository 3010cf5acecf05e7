/// Pieces that come in place, and pieces that come through the room for them.
// SPDX-License-Identifier: Apache-2.0
#include "tests/runtime/stack/projection_case.hpp"

#include <algorithm>
#include <vector>

#include "runtime/stack/seeded.hpp"

namespace annulus::stack {

void fill(std::span<float> values, std::uint64_t stream) {
  const Seeded random(7, {stream});
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(random.uniform(i));
}

void judge_projection(kernels::cuda::MatrixUnit& unit, Way way, std::int64_t rows, std::int64_t in, std::int64_t out) {
  std::vector<float> weights(static_cast<std::size_t>(in * out));
  fill(weights, 1);
  const Projection projection{0, Matrix::qkv, way, in, out, weights.data()};
  std::vector<float> from(static_cast<std::size_t>(rows * projection.from()));
  fill(from, 2);
  std::vector<float> wanted(static_cast<std::size_t>(rows * projection.to()));
  project(projection, rows, from.data(), wanted.data());

  DeviceProjection subject(unit, {std::max(in, out), in * out, in * out, 0});
  std::vector<float> got(wanted.size(), NAN);
  const auto give = [&](std::int64_t first, std::int64_t count, float* room) -> const float* {
    const float* const rows_of_piece = from.data() + first * projection.from();
    if (first % (2 * DeviceProjection::piece_rows) == 0) return rows_of_piece;
    std::copy_n(rows_of_piece, count * projection.from(), room);
    return room;
  };
  const auto take = [&](std::int64_t first, std::int64_t count, const float* result) {
    std::copy_n(result, count * projection.to(), got.data() + first * projection.to());
  };
  subject.run(projection, rows, give, take);
  expect_near<float>(got, wanted, f32_limit * std::sqrt(static_cast<double>(projection.from()) / 40), "projected");
}

}  // namespace annulus::stack
